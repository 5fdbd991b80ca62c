import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { authRoutes } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { Browser, startApp } from './app.ts'
import type { LogLine, TestResponse } from './app.ts'
import { prefix, until } from './redis.ts'

export const DOWN = 'the session store does not answer'
export const UP = 'the session store answers again'

export interface Service {
  app: FastifyInstance & { lines: LogLine[] }
  keyPrefix: string
  /** The plugin's own lines, not Fastify's of each request. */
  said: () => string[]
  /** A person's browser, signed in. */
  signIn: (username: string) => Promise<Browser>
}

/** An application like any other, with a route for each thing that a request may want of its session. */
export async function startService (t: Test, options: Partial<SessionOptions>): Promise<Service> {
  const keyPrefix = options.keyPrefix ?? prefix()
  const app = await startApp(t, { keyPrefix, ...options })
  // A login that cannot be counted goes no further: here the session itself is to be in trouble.
  await app.register(authRoutes, { verify: ({ username }) => ({ id: username }), attempts: false })
  app.post('/attempt', async (request) => await app.attemptLogin(request, 'ada', async () => ({ id: 'ada' })))
  app.get('/public', async () => 'welcome')
  app.get('/skipping', { config: { session: false } }, async () => 'welcome')
  app.get('/read', async (request) => ({ cart: request.session.cart ?? null }))
  app.get('/me', { preHandler: app.authenticate }, async (request) => request.requireAuth().userId)
  app.post('/write', async (request) => { request.session.cart = ['book'] })
  app.post('/relogin', async (request) => { await app.login(request, { id: 'mallory' }) })
  // Three times to the store, one after the other.
  app.post('/rotate', async (request) => {
    request.session.cart = ['tea']
    await request.session.save()
    await request.session.regenerate(['cart', 'userId'])
    await request.session.save()
    request.session.visits = 1
  })
  const signIn = async (username: string): Promise<Browser> => {
    const browser = new Browser(app)
    // A machine that is busy with other things may have kept Redis from answering.
    await until('the sign-in', async () => (await post(browser, username)).statusCode === 200)
    return browser
  }
  return {
    app,
    keyPrefix,
    signIn,
    said: () => app.lines.filter(({ reqId, level }) => reqId === undefined && level >= 30).map(({ msg }) => msg)
  }
}

/** Signs in by the form, whoever the browser's holder was. */
export async function post (browser: Browser, username: string): Promise<TestResponse> {
  return await browser.post('/login', { username, password: 'lovelace' })
}

/** The session that a browser's cookie stands for. */
export function idOf (browser: Browser): string {
  return browser.cookies.get('sid')?.split('.')[0] ?? ''
}
