import assert from 'node:assert/strict'
import { request } from 'node:http'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { start } from '../support/program.ts'

test('the demo sends through real SMTP, shows receipts and one timeline, and ends with 0', async (t) => {
  const demo = start(t, 'examples/demo.ts', { NO_COLOR: '1' })
  assert.equal(await demo.ended, 0, demo.err)
  assert.equal(demo.err, '')
  assert.ok(!demo.out.includes('\u001b'), 'no escape codes in a pipe')
  assert.match(demo.out, /✓ sent through relay: .+ to 2 mailboxes/)
  assert.match(demo.out, /replayed: true; the inbox holds 1 mail\n/)
  assert.match(demo.out, /✗ item 250: VALIDATION_ERROR, to: /)
  assert.match(demo.out, /✓ 499 sent, 1 refused/)
  assert.match(demo.out, /bob@example\.com: suppressed, unsubscribe/)
  assert.match(demo.out, /attempt 1: busy ↷ failed \(451 /)
  assert.match(demo.out, /attempt 2: relay ✓ sent/)
  assert.match(demo.out, /the failover +sent +relay +1 of 1 +2 +msg_/)
  assert.match(demo.out, /event +provider.+accepted\n.+attempt +busy\n.+failed +busy.+attempt +relay\n.+sent +relay/s)
  assert.match(demo.out, /✓ 502 of 502 mails are in the inbox/)
})

test('the inbox page answers on loopback names only, and shows a mail’s html in a sandbox that fetches nothing (W8)', async (t) => {
  const demo = start(t, 'examples/demo.ts', {}, ['--serve'])
  const [, base] = await demo.printed(/open at (http:\S+\/) until/)
  assert.equal(new URL(base ?? '').hostname, '127.0.0.1')
  const get = async (path: string) => {
    const response = await fetch(new URL(path, base))
    return { status: response.status, policy: response.headers.get('content-security-policy') ?? '', response }
  }

  const list = await get('/')
  assert.match(list.policy, /^default-src 'none'/)
  assert.match(await list.response.text(), /502 mails.*Your order 1048 is on its way ✓/s)

  const mail = await get('/mails/0')
  const page = await mail.response.text()
  assert.match(page, /<iframe sandbox title="The mail" src="\/mails\/0\/html">/)
  assert.match(page, /Ada Lovelace &lt;ada@example\.com&gt;/)
  assert.doesNotMatch(page, /<script|https?:/)

  const html = await get('/mails/0/html')
  assert.match(html.policy, /^sandbox; default-src 'none'; img-src data:;/)
  assert.match(await html.response.text(), /<img src="data:image\/png;base64,[A-Za-z0-9+/=]+" alt="Acme">/)

  const [, path = ''] = /<a href="([^"]+)">invoice-1048\.csv</.exec(page) ?? []
  const file = await get(path)
  assert.equal(file.response.headers.get('content-type'), 'application/octet-stream')
  assert.match(file.response.headers.get('content-disposition') ?? '', /^attachment;/)
  assert.equal(await file.response.text(), 'item,price\nanalytical engine,1048.00\n')

  for (const path of ['/mails/502', '/mails/0/attachments/9', '/mails/-1', '/../etc', '/mails/0/html/1']) {
    assert.equal((await get(path)).status, 404, path)
  }
  assert.equal((await fetch(base ?? '', { method: 'POST' })).status, 405)
  assert.equal(await statusFor(base ?? '', 'attacker.example'), 403)
  assert.equal(await statusFor(base ?? '', `localhost:${new URL(base ?? '').port}`), 200)

  demo.child.kill('SIGTERM')
  assert.equal(await demo.ended, 0)
})

/** `fetch` does not let a Host header be chosen. */
function statusFor(url: string, host: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { headers: { host } }, (response) => {
      text(response).then(() => resolve(response.statusCode), reject)
    })
    asked.on('error', reject).end()
  })
}
