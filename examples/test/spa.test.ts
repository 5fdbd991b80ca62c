import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { extname, join } from 'node:path'
import { promisify } from 'node:util'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import type { Page } from 'playwright-core'
import t from 'tap'
import type { Test } from 'tap'
import { buildApp } from '../spa/server.ts'
import viteConfig from '../spa/vite.config.ts'
import { startChromium } from '../../test/helpers/chromium.ts'
import { freePort, root, startProgram } from '../../test/helpers/process.ts'
import { age } from '../../test/helpers/redis-store.ts'
import { startRedis, until } from '../../test/helpers/redis.ts'
import type { TestRedis } from '../../test/helpers/redis.ts'

const MINUTE = 60_000
const ENDED = 'Your session has ended. Please sign in again.'

const front = `${root}examples/spa`
const browser = await startChromium(t)
const [apiPort, frontPort] = [await freePort(), await freePort()]
const apiUrl = `http://localhost:${apiPort}`
const frontUrl = `http://localhost:${frontPort}`

// The front end as it is published: built, and served from its own origin. Vite sets NODE_ENV, so it has a process.
const outDir = await mkdtemp(join(tmpdir(), 'fus-spa-'))
t.teardown(async () => await rm(outDir, { recursive: true, force: true }))
const vite = `${root}examples/node_modules/vite/bin/vite.js`
await promisify(execFile)(process.execPath, [vite, 'build', front, '--outDir', outDir, '--logLevel', 'warn'], {
  env: { ...process.env, VITE_API: apiUrl }
})
const TYPES: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' }
const site = Fastify({ forceCloseConnections: true })
for (const entry of await readdir(outDir, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile()) continue
  const file = join(entry.parentPath, entry.name)
  const url = file.slice(outDir.length).replace(/^\/index\.html$/, '/')
  site.get(url, async (_, reply) => await reply.type(TYPES[extname(file)] ?? '').send(await readFile(file)))
}
t.teardown(async () => await site.close())
await site.listen({ host: 'localhost', port: frontPort })

interface Api { app: FastifyInstance, redis: TestRedis }

async function startApi (t: Test, origins = [frontUrl]): Promise<Api> {
  const redis = await startRedis(t)
  const app = await buildApp({ redis: redis.url, origins })
  t.teardown(async () => {
    app.server.closeAllConnections()
    await app.close()
  })
  await app.listen({ host: 'localhost', port: apiPort })
  return { app, redis }
}

/** The front end in a browser that knows nothing yet. */
async function openPage (t: Test): Promise<Page> {
  const context = await browser.newContext()
  t.teardown(async () => await context.close())
  const page = await context.newPage()
  await page.goto(frontUrl)
  return page
}

async function signIn (page: Page, password = 'lovelace'): Promise<void> {
  await page.getByLabel('Username').fill('ada')
  await page.getByLabel('Password').fill(password)
  await page.getByRole('button', { name: 'Sign in' }).click()
}

async function add (page: Page, note: string): Promise<void> {
  await page.getByLabel('Note').fill(note)
  await page.getByRole('button', { name: 'Add' }).click()
}

/** Waits until the page says this. */
async function says (page: Page, message: string): Promise<void> {
  await page.getByRole('alert').filter({ hasText: message }).waitFor()
}

t.test('ada signs in from the other origin, keeps a note, is known after a reload, and signs out', async (t) => {
  const { redis } = await startApi(t)
  const page = await openPage(t)
  await signIn(page)
  await page.getByText('Signed in as Ada').waitFor()
  await add(page, '<b>buy tea</b>')
  await page.getByText('<b>buy tea</b>').waitFor()
  const [cookie] = await page.context().cookies(apiUrl)
  t.match(cookie, { name: 'sid', httpOnly: true, sameSite: 'Lax' })
  t.equal(await page.evaluate('document.cookie'), '')
  await page.reload()
  await page.getByText('Signed in as Ada').waitFor()
  t.strictSame(await page.getByRole('listitem').allTextContents(), ['<b>buy tea</b>'])
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByRole('button', { name: 'Sign in' }).waitFor()
  t.equal(await page.getByRole('alert').textContent(), '')
  t.strictSame(await page.context().cookies(apiUrl), [])
  t.strictSame(await redis.client.keys('sess:*'), [])
})

t.test('a wrong password is told, and after too many of them when to come back', async (t) => {
  await startApi(t)
  const page = await openPage(t)
  await signIn(page, 'wrong')
  await says(page, 'Wrong username or password.')
  const credentials = { username: 'ada', password: 'wrong' }
  for (let guess = 0; guess < 9; guess++) {
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(credentials) }
    const { status } = await fetch(`${apiUrl}/auth/login`, init)
    t.equal(status, 401)
  }
  await signIn(page)
  await page.getByText(/^Try again in 1[45] min\.$/).waitFor()
  t.pass('read from Retry-After, which CORS lets the page see')
})

t.test('a session that has run out, or was ended in another tab, leads to the form, which says so', async (t) => {
  const { redis } = await startApi(t)
  const page = await openPage(t)
  await signIn(page)
  await page.getByText('Signed in as Ada').waitFor()
  await age(redis.client, 'sess:', 31 * MINUTE)
  await add(page, 'buy tea')
  await says(page, ENDED)
  t.equal(await page.getByLabel('Note').isVisible(), false)

  await signIn(page)
  await page.getByText('Signed in as Ada').waitFor()
  await redis.client.flushall()
  await page.evaluate('dispatchEvent(new Event("focus"))')
  await says(page, ENDED)
  t.equal(await page.getByLabel('Password').isVisible(), true)
})

t.test('while Redis is down the page asks for patience, and signs nobody out', async (t) => {
  const { redis } = await startApi(t)
  const page = await openPage(t)
  await signIn(page)
  await page.getByText('Signed in as Ada').waitFor()
  await redis.stop()
  await add(page, 'buy tea')
  await says(page, 'Please try again in a moment.')
  t.equal(await page.getByLabel('Note').isVisible(), true)
})

t.test('from an origin that the API does not name nobody signs in, and the page says what it can', async (t) => {
  const { redis } = await startApi(t, ['https://app.example.com'])
  const page = await openPage(t)
  await says(page, 'The API does not answer.')
  // As a page would send it whose origin @fastify/cors lets read, and `origins` not.
  const headers = { 'content-type': 'application/json', origin: frontUrl, 'sec-fetch-site': 'same-site' }
  const body = JSON.stringify({ username: 'ada', password: 'lovelace' })
  const refused = await fetch(`${apiUrl}/auth/login`, { method: 'POST', headers, body })
  t.equal(refused.status, 403)
  const answer = await refused.text()
  t.match(JSON.parse(answer), { code: 'ERR_SESSION_CSRF_REJECTED' })
  t.strictSame(await redis.client.keys('*'), [])
  const cors = { 'access-control-allow-origin': frontUrl, 'access-control-allow-credentials': 'true' }
  await page.route(`${apiUrl}/**`, async (route) => await route.fulfill({ status: 403, headers: { ...cors, 'content-type': 'application/json' }, body: answer }))
  await page.reload()
  await says(page, `The API takes nothing from ${frontUrl}.`)
})

t.test('in development Vite serves the page at the origin that the API expects', async (t) => {
  const { output } = await startProgram(t, `${front}/server.ts`, apiPort, { NODE_ENV: 'development', REDIS_URL: undefined, SESSION_SECRET: undefined, ORIGINS: undefined })
  await until('the line it prints', () => new RegExp(`^API at http://\\S+:${apiPort}$`, 'm').test(output()))
  const preflight = { method: 'OPTIONS', headers: { origin: 'http://localhost:5173', 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type' } }
  const { headers } = await fetch(`${apiUrl}/auth/login`, preflight)
  t.equal(headers.get('access-control-allow-origin'), 'http://localhost:5173')
  t.equal(headers.get('access-control-allow-credentials'), 'true')
  t.match(viteConfig, { server: { port: 5173, strictPort: true } })
})
