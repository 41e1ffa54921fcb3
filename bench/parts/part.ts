export interface PartOptions {
  readonly rounds: number
  /** Asked for by its name, so that it may take its time. */
  readonly alone: boolean
}
