import type { Delivery } from '../delivery.ts'
import type { Issue } from '../errors.ts'
import { encodedSize } from '../message/size.ts'
import type { Provider } from '../provider.ts'

/**
 * What of this delivery the provider cannot carry, by field: empty when it can take it whole. Nothing is ever dropped so
 * that it fits; a provider with an answer here is not called.
 */
export function uncarried(provider: Provider, delivery: Delivery, options: unknown): readonly Issue[] {
  const { capabilities } = provider
  const { message, envelope } = delivery
  const issues: Issue[] = []
  const cannot = (path: string, code: string, message: string) => issues.push({ path, code, message })
  const most = (path: string, count: number, limit: number, what: string) => {
    if (count > limit) cannot(path, 'too_many', `${provider.name} takes at most ${limit} ${what}; this has ${count}.`)
  }

  most('to', envelope.recipients.length, capabilities.recipients, 'recipients in one message')
  most('headers', message.headers.length, capabilities.headers, 'custom headers')
  most('replyTo', message.replyTo.length, capabilities.replyTo, 'reply-to addresses')
  most('tags', message.tags.length, capabilities.tags === false ? 0 : capabilities.tags, 'tags')
  if (!capabilities.attachments && message.attachments.some(({ contentId }) => contentId === undefined)) {
    cannot('attachments', 'unsupported', `${provider.name} takes no attachments.`)
  }
  if (!capabilities.inline && message.attachments.some(({ contentId }) => contentId !== undefined)) {
    cannot('attachments', 'unsupported', `${provider.name} takes no inline images.`)
  }
  if (!capabilities.calendar && message.calendar) {
    cannot('calendar', 'unsupported', `${provider.name} takes no calendar part.`)
  }
  if (capabilities.metadata === false && Object.keys(message.metadata).length > 0) {
    cannot('metadata', 'unsupported', `${provider.name} carries no metadata.`)
  }
  if (Number.isFinite(capabilities.bytes)) {
    const bytes = encodedSize(message)
    if (bytes > capabilities.bytes) {
      cannot(
        'attachments',
        'too_large',
        `${provider.name} takes at most ${capabilities.bytes} bytes; this has about ${bytes}.`,
      )
    }
  }
  if (capabilities.nonAsciiLocalPart === 'never' && envelope.recipients.some(({ address }) => !isAscii(address))) {
    cannot('to', 'non_ascii_address', `${provider.name} takes no mailbox with a local part that is not ASCII.`)
  }
  if (!capabilities.envelope && !sameAsShown(delivery)) {
    cannot('to', 'partial_repeat', `${provider.name} cannot mail fewer people than To and Cc show.`)
  }
  if (provider.refuse) issues.push(...provider.refuse(delivery, options))
  else if (options !== undefined) {
    cannot('providerOptions', 'unsupported', `${provider.name} takes no provider options.`)
  }
  return issues
}

const isAscii = (text: string) => !/[^\0-\x7f]/.test(text)

function sameAsShown({ message, envelope }: Delivery): boolean {
  const shown = message.to.length + message.cc.length
  const mailed = envelope.recipients.filter(({ field }) => field !== 'bcc').length
  return shown === mailed
}
