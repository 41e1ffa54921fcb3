import { entries, fields, holds, list, type Rule, string } from './rules.ts'

/** What Mailgun's description of its two send operations says of a form, as field name → list of values. */
const once = (rule: Rule) => list(rule, { min: 1, max: 1 })
const many = (rule: Rule) => list(rule, { min: 1 })
const ascii = string(/^[\x20-\x7e]*$/)
const yesNo = once(string(/^(yes|no)$/))
const json = once(string(/^\{[\s\S]*\}$/))
const date = once(string(/^[A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} [+-]\d{4}$/))
const file: Rule = holds((one: unknown) => one instanceof File && one.name !== '', 'must be a file with a name')

const options = {
  'o:tag': many(string(/^[\x20-\x7e]{1,128}$/)),
  'o:dkim': yesNo,
  'o:tracking-opens': yesNo,
  'o:tracking-clicks': once(string(/^(yes|no|htmlonly)$/)),
  'o:deliverytime': date,
  'o:testmode': once(string(/^yes$/)),
  'o:require-tls': yesNo,
  'o:sending-ip': once(string()),
  'o:sending-ip-pool': once(string()),
  'o:suppress-headers': once(string()),
}
const sizes: Rule = holds((form: Record<string, unknown[]>) => {
  const limited = Object.entries(form).filter(([name]) => /^[ohvt]:/.test(name))
  const bytes = limited.flatMap(([name, values]) => values.map((value) => name.length + Buffer.byteLength(`${value}`)))
  return bytes.reduce((sum, one) => sum + one, 0) <= 16_384
}, 'options too long')

const named: Rule = (value, path) => {
  const form = value as Record<string, unknown>
  const pick = (prefix: string) => Object.fromEntries(Object.entries(form).filter(([name]) => name.startsWith(prefix)))
  return [
    ...entries(/^h:[!-9;-~]+$/, many(ascii))(pick('h:'), path),
    ...entries(/^v:[\w-]+$/, many(string()))(pick('v:'), path),
    ...sizes(form, path),
  ]
}

const closed =
  (rules: Readonly<Record<string, Rule>>): Rule =>
  (value, path) => {
    const rest = Object.fromEntries(Object.entries(value as object).filter(([name]) => !/^[hv]:/.test(name)))
    return [...fields(rules)(rest, path), ...named(value, path)]
  }

export const messages = closed({
  from: once(ascii),
  'to!': many(ascii),
  cc: many(ascii),
  bcc: many(ascii),
  subject: once(string()),
  text: once(string()),
  html: once(string()),
  attachment: many(file),
  inline: many(file),
  template: once(string()),
  't:version': once(string()),
  't:text': once(string(/^yes$/)),
  't:variables': json,
  'recipient-variables': json,
  ...options,
})

export const mimeMessages = closed({ 'to!': many(ascii), 'message!': once(file), ...options })

/** The form of one request, as the rules read it. */
export async function formOf(raw: Uint8Array): Promise<Record<string, unknown[]>> {
  const boundary = Buffer.from(raw).toString('latin1').split('\r\n', 1)[0]?.slice(2) ?? ''
  const headers = { 'Content-Type': `multipart/form-data; boundary=${boundary}` }
  const form: Record<string, unknown[]> = {}
  for (const [name, value] of await new Response(new Uint8Array(raw), { headers }).formData()) {
    form[name] ??= []
    form[name].push(value)
  }
  return form
}
