/** The two messages everything is measured with: about 1 kB of text; about 2.5 kB of text with 7.5 kB of html. */
const sentence = 'Your order left our house today and should be with you before the week is out. '

export const small = { subject: 'Your order is on its way', text: sentence.repeat(13) }

export const typical = {
  subject: 'Your order is on its way',
  text: sentence.repeat(32),
  html: `<html><body>${`<p style="margin:0 0 1em">${sentence}</p>\n`.repeat(70)}</body></html>`,
}

export const from = 'Acme Orders <orders@acme.example>'
export const recipient = (n: number): string => `Reader ${n} <reader-${n}@example.com>`
