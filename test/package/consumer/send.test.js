const { createMailer } = require('sendwright')
const { memory } = require('sendwright/providers/memory')

test('an application in CommonJS sends, and sees what it sent', async () => {
  const outbox = memory()
  const mailer = createMailer({ providers: { outbox }, from: 'hello@acme.example' })
  const receipt = await mailer.send({ to: 'ada@example.com', subject: 'Your order', text: 'It is on its way.' })
  await mailer.close()
  expect(receipt.status).toBe('sent')
  expect(outbox.sent()).toHaveLength(1)
})
