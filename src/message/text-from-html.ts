import { MailError } from '../errors.ts'

/** Makes the plain part from the html with the `html-to-text` package, which must be installed. */
export async function textFromHtml(html: string): Promise<string> {
  let library: HtmlToText
  try {
    library = (await import(packageName)) as HtmlToText
  } catch {
    throw new MailError(
      'CONFIGURATION_ERROR',
      'textFromHtml needs the package html-to-text: npm install html-to-text. Or give `text` yourself.',
      { retryable: false },
    )
  }
  return library.convert(html, options)
}

/** The package has no types of its own; this is the slice used here. */
interface HtmlToText {
  convert(html: string, options: object): string
}

/** A variable, so that the compiler does not ask for the types of a package that may be absent. */
const packageName: string = 'html-to-text'

/** The limits keep hostile markup from growing the tree: what lies beyond them is left out with an ellipsis. */
const options = {
  wordwrap: 78,
  limits: { maxInputLength: 1_000_000, maxDepth: 100, maxChildNodes: 10_000, ellipsis: '…' },
  selectors: [
    { selector: 'img', format: 'skip' },
    { selector: 'a', options: { hideLinkHrefIfSameAsText: true } },
  ],
}
