import type { AddressInfo } from 'node:net'
import formbody from '@fastify/formbody'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import sessionPlugin, { authRoutes, MemoryStore } from '../../lib/index.ts'
import { secret } from '../helpers/app.ts'
import { selfSigned } from '../helpers/certificate.ts'
import { startChromium } from '../helpers/chromium.ts'
import { startPages } from './pages.ts'
import { jar, newVisitor, send, submit } from './person.ts'

const tls = await selfSigned(['app.example', 'other.example'])
const browser = await startChromium(t, { trusts: tls.fingerprint })

const page = (body: string): string => `<!doctype html><title>Shop</title>${body}`
const FORM = page('<form id="sign-in" method="post" action="/auth/login"><input name="username"><input name="password" type="password"><button>Sign in</button></form>')
const SIGN_OUT = '<form id="sign-out" method="post" action="/auth/logout"><button>Sign out</button></form>'

/** A shop whose pages are for customers, with the forms of the ready routes. Its address in the browser. */
async function startShop (t: Test, isSecure: boolean): Promise<string> {
  // Fastify's types of one with TLS and one without do not fit each other.
  const app = Fastify({ https: isSecure ? tls : null, forceCloseConnections: true } as FastifyServerOptions) as unknown as FastifyInstance
  t.teardown(async () => { await app.close() })
  await app.register(formbody)
  await app.register(sessionPlugin, { secret, store: new MemoryStore(), cookie: { secure: isSecure } })
  await app.register(authRoutes, {
    prefix: '/auth',
    verify: async ({ username, password }) => password === 'lovelace' ? { id: username } : null,
    redirects: {}
  })
  app.addHook('onRequest', async (_request, reply) => { reply.header('cache-control', 'no-store').type('text/html') })
  app.get('/login', { preHandler: app.guestOnly }, async () => FORM)
  app.get('/', { preHandler: app.authenticatePage }, async () => page(`<p id="at">home</p>${SIGN_OUT}`))
  app.get('/orders', { preHandler: app.authenticatePage }, async ({ query }) => page(`<p id="at">${(query as { page: number }).page}</p>${SIGN_OUT}`))
  app.post('/orders', { preHandler: app.authenticatePage }, async () => page('<p id="at">ordered</p>'))
  await app.listen({ host: '127.0.0.1', port: 0 })
  const { port } = app.server.address() as AddressInfo
  return isSecure ? `https://app.example:${port}` : `http://localhost:${port}`
}

const ADA = { username: 'ada', password: 'lovelace' }

for (const isSecure of [true, false]) {
  t.test(`${isSecure ? 'over https' : 'on http://localhost'} ada opens a link, signs in and is at the page that she asked for`, async (t) => {
    const url = await startShop(t, isSecure)
    const name = isSecure ? '__Host-sid' : 'sid'
    const { context, page } = await newVisitor(t, browser)
    await page.goto(`${url}/orders?page=2&sort=name`)
    t.equal(page.url(), `${url}/login`)
    t.match(await jar(context), [{ name: `${name}-return`, path: '/', httpOnly: true, secure: isSecure, sameSite: 'Lax' }])
    await submit(page, '#sign-in', { ...ADA, password: 'wrong' })
    t.equal(page.url(), `${url}/login?error=invalid_credentials`)
    await submit(page, '#sign-in', ADA)
    t.equal(page.url(), `${url}/orders?page=2&sort=name`)
    t.equal(await page.textContent('#at'), '2')
    t.match(await jar(context), [{ name }])
    t.equal((await jar(context)).length, 1)
    await page.goto(`${url}/login`)
    t.equal(page.url(), `${url}/`, 'who is signed in sees no form')
    await submit(page, '#sign-out')
    t.equal(page.url(), `${url}/login`)
    await page.goBack()
    await page.waitForURL(`${url}/login`)
    t.equal(await page.locator('#at').count(), 0, 'and the back button shows no page of before')
    await submit(page, '#sign-in', ADA)
    t.equal(page.url(), `${url}/`)
  })
}

t.test('of two tabs the last page is gone to, and the other tab is signed in as well', async (t) => {
  const url = await startShop(t, true)
  const { context, page: first } = await newVisitor(t, browser)
  const second = await context.newPage()
  await first.goto(`${url}/orders?page=1`)
  await second.goto(`${url}/orders?page=2`)
  await submit(first, '#sign-in', ADA)
  t.equal(first.url(), `${url}/orders?page=2`)
  await second.reload()
  t.equal(second.url(), `${url}/`, 'its login page sends it on')
  await second.goto(`${url}/orders?page=1`)
  t.equal(await second.textContent('#at'), '1')
})

t.test('a link on another site leads to the page as well, and a script or an image of the page to no login', async (t) => {
  const url = await startShop(t, true)
  const { page } = await newVisitor(t, browser)
  const others = await startPages(t, { tls })
  await page.goto(others.add('other.example', `<a href="${url}/orders?page=3">orders</a>`))
  await page.click('a')
  await page.waitForURL(`${url}/login`)
  t.match(await send(page, '/orders?page=4'), { status: 401 }, 'a script is told')
  const image = page.waitForResponse(`${url}/orders?page=5`)
  await page.evaluate('document.body.append(Object.assign(new Image(), { src: "/orders?page=5" }))')
  t.equal((await image).status(), 401)
  await submit(page, '#sign-in', ADA)
  t.equal(page.url(), `${url}/orders?page=3`, 'what they asked for is not remembered')
})

t.test('a form whose session has ended leads to the login page, and from there home', async (t) => {
  const url = await startShop(t, true)
  const { context, page } = await newVisitor(t, browser)
  await page.goto(`${url}/login`)
  await page.evaluate('document.forms[0].insertAdjacentHTML("afterend", `<form id="order" method="post" action="/orders"></form>`)')
  await submit(page, '#order')
  t.equal(page.url(), `${url}/login`)
  t.strictSame(await jar(context), [])
  await submit(page, '#sign-in', ADA)
  t.equal(page.url(), `${url}/`)
})
