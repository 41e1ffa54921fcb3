import type { SMTPConnectionAuth } from 'nodemailer/lib/smtp-connection'
import type { SmtpAuth } from './options.ts'

/** Gives what each new connection logs in with. An OAuth2 token is fetched once and kept until it runs out. */
export function loginSource(auth: SmtpAuth): () => Promise<SMTPConnectionAuth> {
  if (!('type' in auth)) return async () => ({ user: auth.user, pass: auth.pass })
  const { type: _, ...credentials } = auth
  let shared: Promise<SMTPConnectionAuth> | undefined
  return () => {
    shared ??= import('nodemailer/lib/xoauth2').then(({ default: XOAuth2 }) => ({
      user: auth.user,
      oauth2: new XOAuth2({ ...credentials, requestTimeout: 10_000 }),
    }))
    return shared
  }
}
