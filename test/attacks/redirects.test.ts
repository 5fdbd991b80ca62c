import formbody from '@fastify/formbody'
import t from 'tap'
import type { Test } from 'tap'
import { errors } from '../../lib/errors.ts'
import { authRoutes, MemoryStore, sessionRoutes } from '../../lib/index.ts'
import type { AuthRoutesOptions } from '../../lib/index.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { exchange } from '../helpers/raw-http.ts'
import { listen, Reader } from '../helpers/visitor.ts'

const EVIL = [
  '//evil.example', '///evil.example', '////evil.example', '/\\evil.example', '\\/evil.example', '\\\\evil.example', 'https:evil.example', 'https:/evil.example', 'https://evil.example', 'http:evil.example',
  '%2f%2fevil.example', '%2F%2Fevil.example', '%5c%5cevil.example', '/%2fevil.example', '/%09/evil.example', '/\t/evil.example', '/ /evil.example', '/.//evil.example', '/..//evil.example', '//evil.example@app.example', 'app.example@evil.example', '@evil.example', '?url=//evil.example', '#//evil.example',
  'javascript:alert(1)//evil', 'data:text/html,evil', '/%0d%0aLocation:%20//evil.example', '/\r\nLocation: //evil.example', '//evil%E3%80%82example', '〱evil.example'
]

/** Where applications look for the page to go on to. */
const NAMES = ['next', 'redirect', 'redirect_to', 'redirect_uri', 'redirects', 'redirects[login]', 'redirects.login', 'return', 'returnTo', 'return_to', 'continue', 'url', 'target', 'goto', 'location', 'login', 'logout', 'failure', 'callback', '__proto__[login]']

const FORM = 'application/x-www-form-urlencoded'
const REDIRECTS: NonNullable<AuthRoutesOptions['redirects']> = { login: '/welcome', failure: '/login?failed', logout: '/bye' }

const PAGES = { login: '/sign-in?x', home: '/start' }

/** All pages that an application with these redirects may send a form to, whatever came of it. */
function pagesOf (redirects: AuthRoutesOptions['redirects']): Set<unknown> {
  if (redirects === undefined) return new Set([undefined])
  const { login = PAGES.home, failure = PAGES.login, logout = PAGES.login } = redirects
  const codes = Object.keys(errors).map((name) => name.toLowerCase()).concat('bad_request')
  const failures = [failure, PAGES.login, '/devices'].flatMap((page) => codes.map((code) => `${page}${page.includes('?') ? '&' : '?'}error=${code}`))
  return new Set([undefined, login, logout, PAGES.login, '/devices', ...failures])
}

async function pages (t: Test, redirects: AuthRoutesOptions['redirects']) {
  const app = await startApp(t, { store: new MemoryStore(), bearer: true, pages: PAGES })
  await app.register(formbody)
  await app.register(authRoutes, { verify: ({ password }) => password === 'lovelace' ? { id: 'ada' } : null, attempts: false, ...redirects !== undefined && { redirects } })
  await app.register(sessionRoutes, { prefix: '/sessions', ...redirects !== undefined && { redirects: { done: '/devices' } } })
  return app
}

/** What the application says of itself, in all that a browser may follow. */
const seen = ({ headers, body }: { headers: Record<string, unknown>, body: string }): string => JSON.stringify([headers.location, headers.refresh, headers.link, headers['content-location'], body])

t.test('[3.7.2] no parameter, header or body of a request sends anybody to another site', async (t) => {
  const wrong: string[] = []
  let requests = 0
  for (const redirects of [undefined, REDIRECTS, { login: '/welcome' }] satisfies Array<AuthRoutesOptions['redirects']>) {
    const app = await pages(t, redirects)
    const allowed = pagesOf(redirects)
    for (const evil of EVIL) {
      const printable = evil.replace(/[^!-~]/g, '')
      const headers = { referer: printable, 'x-forwarded-host': 'evil.example', 'x-forwarded-prefix': printable, 'x-original-url': printable, 'x-rewrite-url': printable, 'x-forwarded-uri': printable }
      const query = NAMES.map((name) => `${encodeURIComponent(name)}=${evil.includes('%') ? evil : encodeURIComponent(evil)}`).join('&')
      for (const [password, type] of [['lovelace', FORM], ['wrong', FORM], ['lovelace', 'application/json'], ['wrong', 'application/json']] as const) {
        const body = { username: 'ada', password, ...Object.fromEntries(NAMES.map((name) => [name, evil])) }
        const payload = type === FORM ? new URLSearchParams(body).toString() : JSON.stringify(body)
        const browser = new Browser(app)
        for (const [method, url] of [['POST', '/login'], ['GET', '/info'], ['POST', '/token'], ['DELETE', '/sessions'], ['DELETE', '/sessions/x'], ['POST', '/sessions/x/revoke'], ['POST', `/sessions/${encodeURIComponent(evil)}/revoke`], ['POST', '/sessions/revoke-others'], ['POST', '/logout'], ['POST', '/sessions/revoke-others']] as const) {
          const response = await browser.request(method, `${url}?${query}`, { ...method !== 'GET' && { payload }, headers: { ...headers, ...method !== 'GET' && { 'content-type': type } } })
          requests++
          const isSafe = allowed.has(response.headers.location) && !/evil|alert/.test(seen(response)) && response.statusCode < 500
          if (!isSafe) wrong.push(`${method} ${url} ${encodeURI(evil)}: ${response.statusCode} ${seen(response)}`)
        }
      }
    }
  }
  t.strictSame(wrong, [])
  t.equal(requests, 3 * EVIL.length * 4 * 10)
})

t.test('[3.7.2] paths that look like another site\'s lead to none', async (t) => {
  const app = await pages(t, REDIRECTS)
  for (const path of ['//evil.example/login', '/%2f%2fevil.example/login', '/\\evil.example/login', '/login//evil.example', '/login/%2f%2fevil.example', '/login/', '//evil.example/logout', '/logout//evil.example/', '//evil.example/sessions/x/revoke', '/sessions//evil.example', '//evil.example/revoke-others']) {
    for (const method of ['GET', 'POST'] as const) {
      const response = await app.inject({ method, url: { pathname: path }, ...method === 'POST' && { payload: 'username=ada&password=lovelace', headers: { 'content-type': FORM } } })
      t.equal(response.headers.location, undefined, path)
    }
  }
})

t.test('[3.7.2] the pages that the application named are gone to', async (t) => {
  const app = await pages(t, REDIRECTS)
  const ada = new Browser(app)
  const headers = { 'content-type': FORM }
  t.equal((await ada.post('/login?next=//evil.example', 'username=ada&password=wrong', { headers })).headers.location, '/login?failed&error=invalid_credentials')
  t.equal((await ada.post('/login?next=//evil.example', 'username=ada&password=lovelace', { headers })).headers.location, REDIRECTS.login)
  t.equal((await ada.post('/logout?next=//evil.example', '', { headers })).headers.location, REDIRECTS.logout)
})

/** A site of which everything but the login page is guarded. */
async function guarded (t: Test): Promise<{ port: number, url: string, home: string }> {
  const app = await startApp(t, { store: new MemoryStore(), pages: { home: '/home' } })
  await app.register(formbody)
  await app.register(authRoutes, { verify: ({ password }) => password === 'lovelace' ? { id: 'ada' } : null, attempts: false, redirects: { ...REDIRECTS, login: '/welcome' } })
  app.post('/sign-in', async (request, reply) => {
    await app.login(request, { id: 'ada' })
    return await reply.redirect(app.takeReturnPath(request), 303)
  })
  app.get('/*', { preHandler: app.authenticatePage }, async () => 'for ada')
  const url = await listen(app)
  return { port: Number(new URL(url).port), url, home: '/home' }
}

t.test('[3.7.2] whatever address a request names, the page that is gone to after a sign-in is of this site', async (t) => {
  const { port, url } = await guarded(t)
  const targets = EVIL.flatMap((evil) => [evil, `/${evil}`, `/orders/${evil}`, `/orders?next=${evil}`, `/orders#${evil}`, `http://evil.example/${evil}`])
    .map((target) => Buffer.from(target).toString('latin1')).filter((target) => !/[ \t\r\n]/.test(target))
  let [remembered, refused] = [0, 0]
  for (const target of targets) {
    const { status, head } = await exchange(port, Buffer.from(`GET ${target} HTTP/1.1\r\nHost: evil.example\r\nReferer: https://evil.example/\r\nX-Original-URL: //evil.example\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Prefix: //evil.example\r\nConnection: close\r\n\r\n`, 'latin1'))
    const [, location] = /\r\nlocation: ([^\r]*)/i.exec(head) ?? []
    if (status >= 400) {
      t.equal(location, undefined)
      continue
    }
    t.strictSame([status, location], [303, '/login'], target)
    const [, cookie] = /\r\nset-cookie: sid-return=([^;]*)/i.exec(head) ?? []
    for (const [path, otherwise] of [['/login', '/welcome'], ['/sign-in', '/home']] as const) {
      const ada = new Reader(url)
      if (cookie !== undefined) ada.cookies.set('sid-return', cookie)
      const answer = await ada.form(`${path}?next=//evil.example`, { username: 'ada', password: 'lovelace', next: '//evil.example' })
      const to = answer.headers.get('location') ?? ''
      t.equal(new URL(to, `${url}${path}`).origin, url, target)
      t.ok(to === otherwise || to === target, `${target}: ${to}`)
      if (to === otherwise) refused++
      else remembered++
    }
  }
  t.ok(remembered > 50, `${remembered}`)
  t.ok(refused > 50, `${refused}`)
})

t.test('[3.7.2] nor does a cookie that was planted lead anywhere', async (t) => {
  const { url } = await guarded(t)
  const until = Math.floor(Date.now() / 1000) + 300
  const mine = new Reader(url)
  await mine.get('/orders')
  const mac = mine.cookies.get('sid-return')?.split('.')[2] ?? ''
  for (const evil of EVIL) {
    const encoded = Buffer.from(evil).toString('base64url')
    for (const value of [encodeURIComponent(evil), encoded, `${until}.${encoded}`, `${until}.${encoded}.${mac}`, `${until}.${encoded}.${'A'.repeat(43)}`, `${mine.cookies.get('sid-return')}.${encoded}`]) {
      for (const [path, otherwise] of [['/login', '/welcome'], ['/sign-in', '/home']] as const) {
        const ada = new Reader(url)
        ada.cookies.set('sid-return', value)
        t.equal((await ada.form(path, { username: 'ada', password: 'lovelace' })).headers.get('location'), otherwise, value)
      }
    }
  }
})
