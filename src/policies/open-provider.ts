import { callOf } from '../call.ts'
import type { OpenProviders } from '../tenants/open-providers.ts'
import type { Policy } from './policy.ts'

/** Keeps the tenant's providers open while one of them carries the delivery. */
export const openProvider =
  (open: OpenProviders): Policy =>
  (next) =>
  async (delivery) => {
    const { context, deadline } = callOf(delivery)
    const release = await open.acquire(context, deadline.signal)
    try {
      return await next(delivery)
    } finally {
      release()
    }
  }
