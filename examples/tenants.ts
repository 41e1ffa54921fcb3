/**
 * One service, many customers, each mailing through an own account, under an own name and within an own quota. Who they
 * are is looked up when their first mail comes; a customer that is not found, or is blocked, sends nothing.
 *
 *     TENANTS=tenants.json PORT=3000 node examples/tenants.ts
 *     { "north": { "smtp": "smtp://…", "from": "North <mail@north.example>", "perDay": 1000, "version": 1 } }
 *     curl -X POST localhost:3000/north/mail -d '{"to":"ada@example.com","subject":"Hello","text":"From the north."}'
 */
import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import { createMailer, MailError, type Message, type TenantConfig } from 'sendwright'
import { smtp } from 'sendwright/providers/smtp'

interface Customer {
  readonly smtp: string
  readonly from: string
  readonly perDay: number
  /** A config with the same version is kept; with another, its connections are replaced. */
  readonly version: number
  readonly blocked?: boolean
}

async function tenantOf(id: string): Promise<TenantConfig | undefined> {
  const customers = JSON.parse(await readFile(process.env.TENANTS ?? 'tenants.json', 'utf8')) as Record<
    string,
    Customer
  >
  const customer = Object.hasOwn(customers, id) ? customers[id] : undefined
  if (!customer) return undefined
  return {
    providers: { own: smtp({ url: customer.smtp }) },
    from: customer.from,
    senders: [customer.from.split('@').at(-1)?.replace('>', '') ?? ''],
    limits: { quota: { limit: customer.perDay, per: 86_400_000 } },
    mode: customer.blocked ? 'blocked' : 'live',
    version: customer.version,
  }
}

async function messageIn(request: IncomingMessage): Promise<Message<Record<string, never>>> {
  let text = ''
  for await (const chunk of request.setEncoding('utf8')) {
    text += chunk
    if (text.length > 100_000) throw new RangeError('the request is too long')
  }
  return JSON.parse(text)
}

// No providers of the service itself: a tenant without own ones can send nothing.
const mailer = createMailer({ providers: {}, tenants: tenantOf })

const server = createServer(async (request, response) => {
  const answer = (status: number, body: unknown) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  const [, tenant = '', what] = request.url?.split('/') ?? []
  if (request.method !== 'POST' || what !== 'mail') return answer(404, { code: 'NOT_FOUND' })
  try {
    const { id, status, from } = await mailer.tenant(tenant).send(await messageIn(request))
    answer(200, { id, status, from })
  } catch (error) {
    if (error instanceof MailError) answer(error.status, error)
    else answer(400, { code: 'VALIDATION_ERROR' })
  }
})

server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  const address = server.address()
  console.log(`listening on http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`)
})

process.once('SIGTERM', async () => {
  await new Promise((closed) => server.close(closed))
  await mailer.close()
})
