import type { SendEmailCommandInput } from '@aws-sdk/client-sesv2'
import type { Delivery, Issue } from '../../src/provider.ts'
import { encodeLabel, headersOf, idHeader, idName, metadataPrefix } from '../shared/carried.ts'
import { compose } from '../shared/mime.ts'
import { peopleOf, showsOthers } from '../shared/people.ts'
import { flag, json, matching, type OptionRule, refuseOptions, shape, text } from '../shared/provider-options.ts'
import { encodeText, formatMailbox } from '../shared/words.ts'
import type { SesDefaults, SesProviderOptions } from './provider-options.ts'

const label = matching(/^[A-Za-z0-9_-]{1,256}$/, 'must be 1 to 256 letters, digits, "_" and "-"')
const labels: OptionRule = {
  fits: (value) =>
    typeof value === 'object' &&
    value !== null &&
    Object.entries(value).every(([name, field]) => label.fits(name) && label.fits(field) && !reserved.test(name)),
  must: 'must be an object of names and values of 1 to 256 letters, digits, "_" and "-"; names do not begin with sw_',
}
const reserved = /^(sw_|sendwright_)/
const optionRules = {
  configurationSetName: label,
  template: shape({ name: text, data: json }, ['name']),
  contactList: shape({ name: text, topic: text }, ['name']),
  tracking: shape({ opens: flag, clicks: flag }),
  messageTags: labels,
}

// What SES takes as `Simple`; beyond it the mail goes as MIME.
const simpleHeaders = 15
const mostMessageTags = 50

/** The body of SendEmail: `Simple` where that carries everything, a stored template on request, else MIME. */
export function payloadOf(
  delivery: Delivery,
  given: SesProviderOptions,
  { configurationSetName, tenantName }: SesDefaults,
): SendEmailCommandInput {
  const { to, cc, bcc } = peopleOf(delivery)
  const { from, replyTo } = delivery.message
  const content = contentOf(delivery, given)
  const { contactList, tracking } = given
  const setName = given.configurationSetName ?? configurationSetName
  return {
    // Given beside MIME they would replace its headers.
    ...(content.Raw
      ? {}
      : {
          FromEmailAddress: formatMailbox(from),
          ReplyToAddresses: replyTo.length ? replyTo.map(formatMailbox) : undefined,
        }),
    Destination: {
      ToAddresses: to.length ? to.map(formatMailbox) : undefined,
      CcAddresses: cc.length ? cc.map(formatMailbox) : undefined,
      BccAddresses: bcc.length ? bcc.map(formatMailbox) : undefined,
    },
    Content: content,
    EmailTags: messageTagsOf(delivery, given),
    ConfigurationSetName: setName,
    TenantName: tenantName,
    ListManagementOptions: contactList && { ContactListName: contactList.name, TopicName: contactList.topic },
    ConfigurationOverrides: tracking && {
      Tracking: { OpenTrackingEnabled: enabled(tracking.opens), ClickTrackingEnabled: enabled(tracking.clicks) },
    },
  }
}

const enabled = (on: boolean | undefined) => (on === undefined ? undefined : on ? 'ENABLED' : 'DISABLED')

type Content = NonNullable<SendEmailCommandInput['Content']>

function contentOf(delivery: Delivery, { template }: SesProviderOptions): Content {
  const { message } = delivery
  const fields = {
    Headers: wireHeadersOf(delivery).map(({ name, value }) => ({ Name: name, Value: value })),
    Attachments: message.attachments.map(({ filename, content, contentType, contentId }) => ({
      FileName: filename,
      RawContent: content,
      ContentType: contentType,
      ContentDisposition: contentId === undefined ? ('ATTACHMENT' as const) : ('INLINE' as const),
      ContentId: contentId,
      ContentTransferEncoding: 'BASE64' as const,
    })),
  }
  if (template) {
    return { Template: { TemplateName: template.name, TemplateData: JSON.stringify(template.data ?? {}), ...fields } }
  }
  if (beyondSimple(delivery)) {
    // Tags and metadata travel as message tags, where recipients do not see them.
    return { Raw: { Data: compose({ ...delivery, message: { ...message, tags: [], metadata: {} } }) } }
  }
  const utf8 = (data: string | undefined) => (data === undefined ? undefined : { Data: data, Charset: 'UTF-8' })
  return {
    Simple: {
      Subject: utf8(message.subject),
      Body: { Text: utf8(message.text), Html: utf8(message.html) },
      ...fields,
    },
  }
}

const wireHeadersOf = (delivery: Delivery) => [
  { name: idHeader, value: delivery.id },
  ...headersOf(delivery.message).map(({ name, value }) => ({ name, value: encodeText(value) })),
]

/** Names the field that only MIME can carry to SES. */
function beyondSimple(delivery: Delivery): string | undefined {
  const { message } = delivery
  if (message.calendar) return 'calendar'
  if (showsOthers(delivery)) return 'to'
  const headers = wireHeadersOf(delivery)
  const names = new Set(headers.map(({ name }) => name.toLowerCase()))
  const fits = ({ name, value }: { readonly name: string; readonly value: string }) =>
    value !== '' && value.length <= 995 && name.length <= 126 && name.length + value.length <= 996
  if (headers.length > simpleHeaders || names.size < headers.length || !headers.every(fits)) return 'headers'
  if (message.attachments.some((file) => file.contentType.length > 78 || file.filename.length > 255))
    return 'attachments'
  return undefined
}

function messageTagsOf({ id, message }: Delivery, { messageTags = {} }: SesProviderOptions) {
  const named = [
    [idName, id],
    ...message.tags.map((tag, index) => [`sw_t_${index + 1}`, tag]),
    ...Object.entries(message.metadata).map(([name, value]) => [metadataPrefix + name, value]),
  ] as [string, string][]
  const tags = named.map(([name, value]) => ({ Name: name, Value: encodeLabel(value) }))
  return [...tags, ...Object.entries(messageTags).map(([name, value]) => ({ Name: name, Value: value }))]
}

/** Names what SES cannot carry of this delivery, and options it does not know. */
export function refuseDelivery(delivery: Delivery, options: unknown): Issue[] {
  const issues = refuseOptions(optionRules, delivery, 'ses', options)
  return issues.length > 0 ? issues : refuseMessage(delivery, (options ?? {}) as SesProviderOptions)
}

function refuseMessage(delivery: Delivery, given: SesProviderOptions): Issue[] {
  const { metadata } = delivery.message
  const issues: Issue[] = []
  for (const [name, value] of Object.entries(metadata)) {
    if (encodeLabel(value) !== undefined) continue
    issues.push({ path: `metadata.${name}`, code: 'too_long', message: 'SES carries at most 189 bytes a value' })
  }
  const field = given.template && beyondSimple(delivery)
  if (field)
    issues.push({ path: field, code: 'unsupported', message: 'SES cannot carry this beside a stored template' })
  const messageTags = Object.keys(given.messageTags ?? {}).length
  if (1 + delivery.message.tags.length + Object.keys(metadata).length + messageTags > mostMessageTags) {
    issues.push({
      path: 'tags',
      code: 'too_many',
      message: `SES carries ${mostMessageTags} message tags, ours included`,
    })
  }
  return issues
}
