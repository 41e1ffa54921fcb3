/** The id in a Message-ID of ours, which is its local part; undefined for what has no such form. */
export const idInMessageId = (messageId: string): string | undefined => /^<?([^@<>]+)@/.exec(messageId)?.[1]
