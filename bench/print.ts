export const heading = (text: string): void => console.log(`\n${text}`)

export const line = (what: string, figures: string, aim = ''): void =>
  console.log(`  ${what.padEnd(44)} ${figures.padEnd(62)} ${aim}`.trimEnd())

export const fixed = (value: number, digits = 0): string => value.toFixed(digits)
export const times = (ratio: number): string => `${ratio.toFixed(2)} ×`
/** `12,345`. */
export const count = (value: number): string => Math.round(value).toLocaleString('en')
