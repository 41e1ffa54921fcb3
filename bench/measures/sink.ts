/** An SMTP server that takes everything and keeps nothing. Prints its port; ends with its parent. */
import { type AddressInfo, createServer } from 'node:net'

const endOfMail = Buffer.from('\r\n.\r\n')

const server = createServer({ noDelay: true }, (socket) => {
  let inMail = false
  let left = Buffer.alloc(0)
  socket.on('error', () => socket.destroy())
  socket.write('220 sink\r\n')
  socket.on('data', (chunk) => {
    left = left.length === 0 ? chunk : Buffer.concat([left, chunk])
    const replies: string[] = []
    for (;;) {
      const end = inMail ? left.indexOf(endOfMail) : left.indexOf('\r\n')
      if (end === -1) break
      if (inMail) {
        inMail = false
        replies.push('250 taken\r\n')
        left = left.subarray(end + endOfMail.length)
        continue
      }
      const verb = left.toString('latin1', 0, 4).toUpperCase()
      left = left.subarray(end + 2)
      inMail = verb === 'DATA'
      if (verb === 'EHLO') replies.push('250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n')
      else if (verb === 'QUIT') return socket.end(`${replies.join('')}221 bye\r\n`)
      else replies.push(inMail ? '354 go\r\n' : '250 ok\r\n')
    }
    // Only what may still hold the start of an end is kept, so that long mail costs nothing to look through.
    if (inMail && left.length > endOfMail.length) left = left.subarray(1 - endOfMail.length)
    if (replies.length > 0) socket.write(replies.join(''))
  })
})
server.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port))
process.on('disconnect', () => process.exit())
