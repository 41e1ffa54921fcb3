import { anything, fields, holds, list, type Rule, string } from './rules.ts'

/** What the SES v2 service model and its guide say of SendEmail. */
const base64 = string(/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/)
const content = fields({ 'Data!': string(), Charset: string() })
const headers = list(
  fields(
    { 'Name!': string(/^[!-9;-@A-~]{1,126}$/), 'Value!': string(/^[ -~]{1,995}$/) },
    holds(({ Name, Value }: { Name: string; Value: string }) => Name.length + Value.length <= 996, 'too long together'),
  ),
  { max: 15 },
)
const attachments = list(
  fields({
    'RawContent!': base64,
    'FileName!': string(/^.{0,255}$/),
    ContentDisposition: string(/^(ATTACHMENT|INLINE)$/),
    ContentDescription: string(),
    ContentId: string(/^.{1,78}$/),
    ContentTransferEncoding: string(/^(BASE64|QUOTED_PRINTABLE|SEVEN_BIT)$/),
    ContentType: string(/^.{1,78}$/),
  }),
)
const one: Rule = holds((value: object) => Object.keys(value).length === 1, 'exactly one')
// Display names must be ASCII; local parts and domains too.
const addresses = list(string(/^[ -~]{3,320}$/), { min: 1 })
const label = string(/^[A-Za-z0-9_-]{1,256}$/)
const onOff = string(/^(ENABLED|DISABLED)$/)

export const sendEmail: Rule = fields(
  {
    FromEmailAddress: string(/^[ -~]+$/),
    ReplyToAddresses: addresses,
    Destination: fields({ ToAddresses: addresses, CcAddresses: addresses, BccAddresses: addresses }),
    'Content!': fields(
      {
        Simple: fields({
          'Subject!': content,
          'Body!': fields({ Text: content, Html: content }),
          Headers: headers,
          Attachments: attachments,
        }),
        Raw: fields({ 'Data!': base64 }),
        Template: fields({
          TemplateName: string(/^.+$/),
          TemplateData: string((text) => text.length <= 262_144),
          Headers: headers,
          Attachments: attachments,
        }),
      },
      one,
    ),
    EmailTags: list(fields({ 'Name!': label, 'Value!': label }), { max: 50 }),
    ConfigurationSetName: string(),
    TenantName: string(/^.+$/),
    ListManagementOptions: fields({ 'ContactListName!': string(), TopicName: string() }),
    ConfigurationOverrides: fields({ Tracking: fields({ OpenTrackingEnabled: onOff, ClickTrackingEnabled: onOff }) }),
  },
  anything,
)
