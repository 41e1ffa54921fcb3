export { describeProvider, type Feature, type ProviderHarness, type Skip } from './describe-provider.ts'
export { describeStore, type StoreHarness, type TestFunctions } from './describe-store.ts'
export {
  type ExpectOptions,
  expectNotSent,
  expectSent,
  type MailPattern,
  type Mails,
  type TextPattern,
} from './expect-sent.ts'
export { type FakeClock, fakeClock } from './fake-clock.ts'
// For those who write a server in a dialect of their own.
export {
  type DialectReply,
  type DialectRequest,
  type HttpDialect,
  type RefusalKind,
  ScriptedHttpServer,
} from './http-server.ts'
export { createInbox, type Inbox, type SentMail, type SentSource } from './inbox.ts'
export { createMailgunServer, type MailgunServerOptions } from './mailgun-server.ts'
export { parseMail, type RawMail } from './parse-mail.ts'
export type {
  AcceptedAddress,
  AcceptedAttachment,
  AcceptedMail,
  Fault,
  FaultKind,
  FaultPoint,
  ScriptedServer,
} from './scripted-server.ts'
export { createSendGridServer, type SendGridServerOptions } from './sendgrid-server.ts'
export { createSesServer, type SesServerOptions } from './ses-server.ts'
export { createSmtpServer, type ScriptedSmtpServer, type SmtpServerOptions } from './smtp-server.ts'
