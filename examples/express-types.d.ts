/** The little of Express 5 that `express.ts` uses; with `@types/express` installed an application needs no such file. */
declare module 'express' {
  import type { Server } from 'node:http'

  export interface Request {
    readonly params: Readonly<Record<string, string>>
    readonly body: unknown
  }
  export interface Response {
    set(name: string, value: string): Response
    status(code: number): Response
    json(body: unknown): Response
  }
  export type Next = (error?: unknown) => void
  type Handler = (request: Request, response: Response, next: Next) => unknown
  type ErrorHandler = (error: unknown, request: Request, response: Response, next: Next) => unknown
  interface Application {
    use(handler: Handler | ErrorHandler): Application
    get(path: string, handler: Handler): Application
    post(path: string, handler: Handler): Application
    listen(port: number, host: string, listening: (error?: Error) => void): Server
  }
  const express: { (): Application; json(options?: { limit: string }): Handler }
  export default express
}
