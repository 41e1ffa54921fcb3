import { stripVTControlCharacters, styleText } from 'node:util'

type Style = Parameters<typeof styleText>[0]

/** Colour where the terminal shows it: not in a pipe, not with NO_COLOR. */
export const paint = (style: Style, text: string): string => styleText(style, text, { stream: process.stdout })

const widthOf = (text: string): number => stripVTControlCharacters(text).length

/** Columns as wide as their widest cell; the first row is the heading. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => widthOf(row[column] ?? '')))) ?? []
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - widthOf(cell)))
      .join('   ')
      .trimEnd(),
  )
  return lines.map((line, index) => `  ${index === 0 ? paint('dim', line) : line}\n`).join('')
}

export const heading = (number: number, text: string): void =>
  void process.stdout.write(`\n${paint('bold', `${number}  ${text}`)}\n`)

export const say = (text: string): void => void process.stdout.write(`   ${text}\n`)

/** A bar that is drawn over itself in a terminal, and once at its end elsewhere. */
export function progress(total: number, what: string): (done: number) => void {
  const width = 32
  return (done) => {
    const last = done === total
    if (!last && (!process.stdout.isTTY || done % 10 !== 0)) return
    const full = Math.round((width * done) / total)
    const bar = paint('green', '━'.repeat(full)) + paint('dim', '━'.repeat(width - full))
    const text = `   ${bar} ${done}/${total} ${what}`
    process.stdout.write(process.stdout.isTTY ? `\r${text}${last ? '\n' : ''}` : `${text}\n`)
  }
}
