import { MailError } from '../errors.ts'

/** Longer html is refused: nested markup takes the converter time quadratic in its length, and readers clip it there. */
const longestHtml = 102_400

/**
 * Makes the plain part from html of at most 102,400 characters, with the package `html-to-text`.
 *
 * @throws MailError `VALIDATION_ERROR` for longer html, `CONFIGURATION_ERROR` when the package is not installed.
 */
export async function textFromHtml(html: string): Promise<string> {
  if (html.length > longestHtml) {
    const message = `Cannot be made from html of more than ${longestHtml} characters; give it yourself.`
    throw new MailError('VALIDATION_ERROR', `text: ${message}`, {
      issues: [{ path: 'text', code: 'too_long', message }],
    })
  }
  return (await load()).convert(html, options)
}

/** The package has no types of its own; this is the slice used here. */
interface HtmlToText {
  convert(html: string, options: object): string
}

/** A variable, so that the compiler does not ask for the types of a package that may be absent. */
const packageName: string = 'html-to-text'

async function load(): Promise<HtmlToText> {
  try {
    return (await import(packageName)) as HtmlToText
  } catch {
    throw new MailError(
      'CONFIGURATION_ERROR',
      'textFromHtml needs the package html-to-text: npm install html-to-text. Or give `text` yourself.',
      { retryable: false },
    )
  }
}

/** The limits keep hostile markup from growing the tree: what lies beyond them is left out with an ellipsis. */
const options = {
  wordwrap: 78,
  limits: { maxDepth: 100, maxChildNodes: 10_000, ellipsis: '…' },
  selectors: [
    { selector: 'img', format: 'skip' },
    { selector: 'a', options: { hideLinkHrefIfSameAsText: true } },
  ],
}
