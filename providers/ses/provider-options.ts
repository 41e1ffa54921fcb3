/** `providerOptions` of one message. */
export interface SesProviderOptions {
  readonly configurationSetName?: string
  /** A stored template; its subject and content stand in for the message's. */
  readonly template?: { readonly name: string; readonly data?: Readonly<Record<string, unknown>> }
  /** Lets SES add unsubscribe headers and footer of a contact list. */
  readonly contactList?: { readonly name: string; readonly topic?: string }
  /** Overrides the configuration set's switches. */
  readonly tracking?: { readonly opens?: boolean; readonly clicks?: boolean }
  /** Message tags of your own, names and values of 1 to 256 letters, digits, `_` and `-`. */
  readonly messageTags?: Readonly<Record<string, string>>
}

export interface SesDefaults {
  readonly configurationSetName?: string
  readonly tenantName?: string
}
