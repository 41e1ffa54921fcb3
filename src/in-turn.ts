import type { Transaction } from './stores/store.ts'

const lines = new WeakMap<Transaction, Promise<unknown>>()

/** The same connection, asked one thing at a time, whatever the calls that share it do: `pg` wants it so. */
export function inTurn(transaction: Transaction): Transaction {
  return {
    query(text, values) {
      const answer = (lines.get(transaction) ?? Promise.resolve()).then(() => transaction.query(text, values))
      lines.set(
        transaction,
        answer.catch(() => undefined),
      )
      return answer
    },
  }
}
