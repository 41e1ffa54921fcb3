import { entries, fields, holds, kind, list, type Rule, string } from './rules.ts'

/** What SendGrid's description of Mail Send says, and what its guide adds in words. */
const person = fields({
  'email!': string(/^[!-~]+@[a-z0-9.-]+$/i),
  name: string(/^[^,;]*$/),
})
const asciiNamed = fields({ 'email!': string(), name: string(/^[ -~]*$/) })
const flat = entries(/^[!-~]+$/, string(/^[ -~]*$/))
const args: Rule = (value, path) => [
  ...entries(/^[!-~]+$/, string())(value, path),
  ...holds((all: object) => Buffer.byteLength(JSON.stringify(all)) <= 10_000, 'too long')(value, path),
]
const enable = fields({ enable: kind('boolean') })
const unique: Rule = holds((group: Record<string, { email: string }[]>) => {
  const all = ['to', 'cc', 'bcc'].flatMap((name) => (group[name] ?? []).map(({ email }) => email))
  return new Set(all).size === all.length
}, 'an address twice')

export const mailSend: Rule = fields(
  {
    'personalizations!': list(
      fields(
        {
          'to!': list(person, { min: 1 }),
          cc: list(person, { min: 1 }),
          bcc: list(person, { min: 1 }),
          headers: flat,
          custom_args: args,
          dynamic_template_data: () => [],
        },
        unique,
      ),
      { min: 1, max: 1000 },
    ),
    'from!': asciiNamed,
    reply_to: person,
    reply_to_list: list(person, { max: 1000, unique: true }),
    subject: string(/^.+$/s),
    content: list(fields({ 'type!': string(/^[ -~]+$/), 'value!': string(/^.+$/s) }), { min: 1 }),
    attachments: list(
      fields({
        'content!': string(/^[A-Za-z0-9+/]+={0,2}$/),
        'filename!': string(),
        type: string(/^[^;\r\n]+$/),
        disposition: string(/^(inline|attachment)$/),
        content_id: string(),
      }),
    ),
    template_id: string(/^d-/),
    headers: flat,
    categories: list(string(/^.{1,255}$/), { max: 10, unique: true }),
    custom_args: args,
    send_at: kind('number'),
    batch_id: string(),
    asm: fields({ 'group_id!': kind('number'), groups_to_display: list(kind('number'), { max: 25 }) }),
    ip_pool_name: string(/^.{2,64}$/),
    mail_settings: fields({ sandbox_mode: enable }),
    tracking_settings: fields({ open_tracking: enable, click_tracking: enable, subscription_tracking: enable }),
  },
  (value, path) => [
    ...holds((one: object) => !('reply_to' in one && 'reply_to_list' in one), 'two kinds of reply-to')(value, path),
    ...holds((one: object) => 'content' in one || 'template_id' in one, 'no content')(value, path),
    ...holds(({ content = [] }: { content?: { type: string }[] }) => {
      const types = content.map(({ type }) => type)
      return types.indexOf('text/plain') < 1 && types.indexOf('text/html') < 2
    }, 'content out of order')(value, path),
  ],
)
