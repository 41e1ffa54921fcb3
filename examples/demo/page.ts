import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Attachment } from 'postal-mime'
import type { Inbox, InboxMail } from './inbox.ts'

export interface InboxPage {
  readonly url: string
  close(): Promise<void>
}

const style = `
  :root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
  body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
  a { color: inherit } h1 { font-size: 1.3rem } small, dt { opacity: .65 }
  ol { list-style: none; padding: 0 } li a { display: flex; gap: 1rem; padding: .4rem 0; text-decoration: none; border-top: 1px solid #8884 }
  li b { flex: 1; font-weight: 500 } dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem } dd { margin: 0 }
  iframe { width: 100%; height: 22rem; border: 1px solid #8886; border-radius: 6px; background: #fff }
  pre { white-space: pre-wrap; border: 1px solid #8886; border-radius: 6px; padding: 1rem }`

/** Nothing is fetched from anywhere, nothing runs, and no other page may frame these. */
const ownPolicy =
  "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; frame-ancestors 'none'; base-uri 'none'"
/** A mail's html is a stranger's: no scripts, no forms, no origin, and only images that came inside it. */
const mailPolicy =
  "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'self'; base-uri 'none'"

/** A page with the mails of an inbox, on loopback only. */
export async function openPage(inbox: Inbox, port = 0): Promise<InboxPage> {
  const server = createServer((request, response) => answer(inbox, request, response))
  await new Promise<void>((listening, failed) => {
    server.once('error', failed)
    server.listen(port, '127.0.0.1', listening)
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  return {
    url,
    close() {
      server.closeAllConnections()
      return new Promise((closed) => server.close(() => closed()))
    },
  }
}

function answer(inbox: Inbox, request: IncomingMessage, response: ServerResponse): ServerResponse {
  response.setHeader('x-content-type-options', 'nosniff')
  response.setHeader('referrer-policy', 'no-referrer')
  response.setHeader('cross-origin-resource-policy', 'same-origin')
  const port = request.socket.localPort
  // Another site may point a name of its own at 127.0.0.1; its Host header gives it away.
  if (![`127.0.0.1:${port}`, `localhost:${port}`].includes(request.headers.host ?? '')) {
    return end(response, 403, 'text/plain', 'Ask for 127.0.0.1 or localhost.')
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') return end(response, 405, 'text/plain', 'GET only.')

  const path = request.url ?? ''
  if (path === '/') return page(response, 'Inbox', list(inbox))
  const [, number, part, index] = /^\/mails\/(\d{1,9})(?:\/(html|attachments)(?:\/(\d{1,3}))?)?$/.exec(path) ?? []
  const mail = inbox.mails[Number(number)]
  if (!mail) return end(response, 404, 'text/plain', 'There is no such mail.')
  if (part === undefined) return page(response, mail.mail.subject ?? '', view(mail, Number(number)))
  if (part === 'html' && index === undefined) {
    response.setHeader('content-security-policy', mailPolicy)
    return end(response, 200, 'text/html', withImages(mail))
  }
  const attachment = mail.mail.attachments[Number(index)]
  if (part !== 'attachments' || !attachment) return end(response, 404, 'text/plain', 'There is no such part.')
  response.setHeader('content-disposition', `attachment; filename*=UTF-8''${encodeURIComponent(nameOf(attachment))}`)
  return end(response, 200, 'application/octet-stream', bytesOf(attachment))
}

function end(response: ServerResponse, status: number, type: string, body: string | Uint8Array): ServerResponse {
  return response
    .writeHead(status, { 'content-type': type.startsWith('text/') ? `${type}; charset=utf-8` : type })
    .end(body)
}

function page(response: ServerResponse, title: string, body: string): ServerResponse {
  response.setHeader('content-security-policy', ownPolicy)
  const head = `<meta name=viewport content="width=device-width"><title>${escaped(title)}</title><style>${style}</style>`
  return end(response, 200, 'text/html', `<!doctype html><html lang=en>${head}${body}</html>`)
}

function list({ mails }: Inbox): string {
  const rows = mails.map(
    ({ mail, envelope }, index) =>
      `<li><a href="/mails/${index}"><b>${escaped(mail.subject ?? '')}</b><small>${escaped(envelope.to.join(', '))}</small></a>`,
  )
  return `<h1>Inbox <small>${mails.length} mails</small></h1><ol>${rows.reverse().join('')}</ol>`
}

function view({ mail, envelope, bytes }: InboxMail, index: number): string {
  const facts = [
    ['From', `${mail.from?.name ?? ''} <${mail.from?.address ?? ''}>`],
    ['To', (mail.to ?? []).map(({ name, address }) => `${name} <${address ?? ''}>`.trim()).join(', ')],
    ['Envelope', `${envelope.from} → ${envelope.to.join(', ')}`],
    ['Message-ID', mail.messageId ?? ''],
    ['Date', mail.date ?? ''],
    ['Size', `${bytes} bytes`],
  ]
  const files = mail.attachments.map(
    (attachment, part) => `<a href="/mails/${index}/attachments/${part}">${escaped(nameOf(attachment))}</a>`,
  )
  const rows = facts.map(([name, value]) => `<dt>${name}<dd>${escaped(value ?? '')}`).join('')
  const html = mail.html === undefined ? '' : `<iframe sandbox title="The mail" src="/mails/${index}/html"></iframe>`
  const text = mail.text === undefined ? '' : `<pre>${escaped(mail.text)}</pre>`
  const parts = files.length === 0 ? '' : `<p>Attached: ${files.join(', ')}</p>`
  return `<p><a href="/">← Inbox</a><h1>${escaped(mail.subject ?? '')}</h1><dl>${rows}</dl>${html}${parts}${text}`
}

/** The html with its inline images in it, so that it needs nothing from outside. */
function withImages({ mail }: InboxMail): string {
  let html = mail.html ?? ''
  for (const attachment of mail.attachments) {
    if (attachment.contentId === undefined || !/^image\/(png|jpeg|gif|webp)$/.test(attachment.mimeType)) continue
    const data = `data:${attachment.mimeType};base64,${bytesOf(attachment).toString('base64')}`
    html = html.replaceAll(`cid:${attachment.contentId.replace(/^<|>$/g, '')}`, data)
  }
  return html
}

const bytesOf = ({ content }: Attachment): Buffer =>
  typeof content === 'string' ? Buffer.from(content) : Buffer.from(new Uint8Array(content))

const nameOf = ({ filename, mimeType }: Attachment): string => (filename ?? mimeType).toWellFormed()

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}
const escaped = (text: string): string => text.replace(/[&<>"']/g, (character) => entities[character] ?? '')
