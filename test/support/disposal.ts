import { afterEach } from 'node:test'

const open: AsyncDisposable[] = []

afterEach(async () => {
  while (open.length > 0) await open.pop()![Symbol.asyncDispose]()
})

/** Closes it after the test that is running. (Node 22 cannot parse `await using`, and the tests run there as source.) */
export function disposeAfterTest(disposable: AsyncDisposable): void {
  open.push(disposable)
}
