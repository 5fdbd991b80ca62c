import formbody from '@fastify/formbody'
import type { BrowserContext, Page } from 'playwright-core'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, MemoryStore, sessionRoutes } from '../../lib/index.ts'
import { startApp } from '../helpers/app.ts'
import { startChromium } from '../helpers/chromium.ts'
import { MINUTE } from '../helpers/record.ts'
import { listen } from '../helpers/visitor.ts'

/*
 * An application of plain forms, in a browser that runs no script.
 */

const browser = await startChromium(t)

const pageOf = (title: string, error: string | undefined, body: string): string => `<!doctype html>
  <title>${title}</title><h1>${title}</h1>${error === undefined ? '' : `<p role="alert">${error}</p>`}${body}`

const LOGIN = `
  <form method="post" action="/auth/login">
    <input name="username"><input name="password" type="password"><button>Sign in</button>
  </form>`

interface Query { Querystring: { error?: string } }

/** Pages and forms as an application would write them, with the ready routes for what the forms do. */
async function startForms (t: Test) {
  let now = Date.now()
  const app = await startApp(t, { store: new MemoryStore({ now: () => now }), idleTimeout: '1d' }, { forceCloseConnections: true })
  await app.register(formbody)
  await app.register(authRoutes, { prefix: '/auth', verify: ({ username, password }) => password === 'lovelace' ? { id: username } : null, attempts: { accountNetwork: { max: 3 } }, redirects: {} })
  await app.register(sessionRoutes, { prefix: '/sessions', redirects: { done: '/devices' } })
  app.addHook('onRequest', async (_request, reply) => { reply.type('text/html') })
  app.get<Query>('/login', { preHandler: app.guestOnly }, async ({ query }) => pageOf('Sign in', query.error, LOGIN))
  app.get('/', async (request, reply) => request.auth === null ? await reply.redirect('/login', 303) : pageOf(`Hello, ${request.auth.userId}`, undefined, '<form method="post" action="/auth/logout"><button>Sign out</button></form>'))
  app.get<Query>('/devices', { preHandler: app.authenticatePage }, async (request) => {
    const { id: current, userId } = request.requireAuth()
    const devices = (await app.sessions.listByUser(userId)).map(({ id }) => `
      <li><form method="post" action="/sessions/${id}/revoke"><button class="${id === current ? 'here' : 'elsewhere'}">End</button></form></li>`)
    return pageOf('Your devices', request.query.error, `<ul>${devices.join('')}</ul>
      <form method="post" action="/sessions/revoke-others"><button id="others">End all others</button></form>`)
  })
  const url = await listen(app)
  const open = async (): Promise<Page> => {
    const context: BrowserContext = await browser.newContext({ javaScriptEnabled: false })
    t.teardown(async () => await context.close())
    const page = await context.newPage()
    await page.goto(`${url}/`)
    return page
  }
  /** Somebody who signed in later than everybody before. */
  const signedIn = async (): Promise<Page> => {
    now++
    const page = await open()
    await signIn(page)
    t.equal(await page.innerText('h1'), 'Hello, ada')
    return page
  }
  return { app, url, open, signedIn, age: (ms: number) => { now += ms } }
}

async function signIn (page: Page, password = 'lovelace'): Promise<void> {
  await page.fill('[name=username]', 'ada')
  await page.fill('[name=password]', password)
  await page.click('button')
}

const alertOf = async (page: Page): Promise<string> => await page.innerText('[role=alert]')
const pathOf = (page: Page): string => page.url().replace(/^https?:\/\/[^/]+/, '')

t.test('a form that fails shows the login page and why; after too many the right password as well', async (t) => {
  const { open } = await startForms(t)
  const page = await open()
  t.equal(pathOf(page), '/login')
  await signIn(page, 'wrong')
  t.strictSame([pathOf(page), await alertOf(page)], ['/login?error=invalid_credentials', 'invalid_credentials'])
  await page.click('button')
  t.equal(pathOf(page), '/login?error=bad_request', 'an empty form')
  for (const password of ['wrong', 'wrong', 'lovelace']) await signIn(page, password)
  t.match([pathOf(page), await alertOf(page)], [/^\/login\?error=too_many_attempts&retry_after=\d+$/, 'too_many_attempts'])
  const shown = pathOf(page)
  t.strictSame(await page.context().cookies(), [])
  await page.reload()
  t.equal(pathOf(page), shown, 'no form is sent again')
})

t.test('forms sign in and out, end one device, all others, and this one', async (t) => {
  const { app, url, signedIn } = await startForms(t)
  const [phone, tablet, laptop, here] = [await signedIn(), await signedIn(), await signedIn(), await signedIn()] as [Page, Page, Page, Page]
  await here.goto(`${url}/devices`)
  t.equal(await here.locator('.elsewhere').count(), 3)
  await here.click('.elsewhere >> nth=0')
  t.equal(pathOf(here), '/devices')
  t.equal(await here.locator('.elsewhere').count(), 2)
  await laptop.goto(url)
  t.equal(pathOf(laptop), '/login', 'the newest of the others')

  await here.click('#others')
  t.equal(pathOf(here), '/devices')
  t.equal(await here.locator('.elsewhere').count(), 0)
  for (const each of [phone, tablet]) {
    await each.goto(url)
    t.equal(pathOf(each), '/login')
  }
  await here.click('.here')
  t.equal(pathOf(here), '/login')
  t.strictSame(await here.context().cookies(), [])
  t.strictSame(await app.sessions.listByUser('ada'), [])

  await signIn(here)
  await here.click('text=Sign out')
  t.equal(pathOf(here), '/login')
  t.strictSame(await here.context().cookies(), [])
})

t.test('a page of devices from long ago asks for a sign-in and is shown again, and that of somebody signed out as well', async (t) => {
  const { url, signedIn, age } = await startForms(t)
  const [phone, here] = [await signedIn(), await signedIn()]
  await here.goto(`${url}/devices`)
  age(11 * MINUTE)
  await here.click('#others')
  t.strictSame([pathOf(here), await alertOf(here)], ['/login?error=reauth_required', 'reauth_required'])
  await here.goto(`${url}/login`)
  t.equal(pathOf(here), '/', 'a guest page is not shown to who is signed in and is told nothing')
  await here.goto(`${url}/devices`)
  await here.click('#others')
  await signIn(here, 'wrong')
  t.equal(pathOf(here), '/login?error=invalid_credentials', 'nor is a failure hidden')
  await signIn(here)
  t.equal(pathOf(here), '/devices')
  await phone.goto(url)
  t.equal(await phone.innerText('h1'), 'Hello, ada')
  await phone.click('text=Sign out')
  await here.click('.elsewhere')
  t.strictSame([pathOf(here), await alertOf(here)], ['/devices?error=not_found', 'not_found'])
  await here.context().clearCookies()
  await here.click('#others')
  t.strictSame([pathOf(here), await alertOf(here)], ['/login?error=unauthenticated', 'unauthenticated'])
})
