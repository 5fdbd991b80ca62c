import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { extname, join } from 'node:path'
import axe from 'axe-core'
import type { AxeResults } from 'axe-core'
import type { Browser, Page } from 'playwright-core'
import t from 'tap'
import type { Test } from 'tap'
import { startChromium } from '../helpers/chromium.ts'
import { root, run } from '../helpers/process.ts'

/* The site that `npm run docs:build` makes of docs/: without a network, as on a host of static files. */

const folder = join(root, 'docs/.vitepress/dist')
const TYPES: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.png': 'image/png' }

// Under a path of its own, as on GitHub Pages.
const BASE = '/a-repository/'
const built = await run('npm', ['run', '--silent', 'docs:build'], { env: { DOCS_BASE: BASE } })
const files = new Set(built.code === 0 ? readdirSync(folder, { recursive: true, encoding: 'utf8' }) : [])
const browser = await startChromium(t)

/** Serves the site until the test ends. */
async function serve (t: Test): Promise<{ origin: string, missing: string[] }> {
  const missing: string[] = []
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost')
    const path = pathname.endsWith('/') ? `${pathname}index.html` : pathname
    const file = path.startsWith(BASE) ? decodeURI(path.slice(BASE.length)) : ''
    if (!files.has(file)) {
      missing.push(pathname)
      response.writeHead(404).end()
      return
    }
    response.setHeader('content-type', TYPES[extname(file)] ?? 'text/plain').end(readFileSync(join(folder, file)))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, missing }
}

interface Visit { page: Page, origin: string, elsewhere: string[], faults: string[], missing: string[] }

/** Goes to a page of the site, and waits until it listens to keys and clicks: its text is there before that. */
async function goTo (page: Page, url: string): Promise<void> {
  await page.goto(url, { waitUntil: 'networkidle' })
  await page.waitForFunction("'__vue_app__' in document.getElementById('app')")
}

/** Opens a page of the site, and notes what it asks other hosts for, and what goes wrong. */
async function visit (t: Test, browser: Browser, path: string, colorScheme: 'light' | 'dark' = 'light'): Promise<Visit> {
  const { origin, missing } = await serve(t)
  const context = await browser.newContext({ colorScheme })
  t.teardown(async () => await context.close())
  const page = await context.newPage()
  const elsewhere: string[] = []
  const faults: string[] = []
  page.on('request', (request) => {
    if (!request.url().startsWith(origin) && !request.url().startsWith('data:')) elsewhere.push(request.url())
  })
  page.on('pageerror', (error) => faults.push(String(error)))
  page.on('console', (message) => {
    if (message.type() === 'error') faults.push(message.text())
  })
  await goTo(page, `${origin}${BASE}${path}`)
  return { page, origin, elsewhere, faults, missing }
}

t.test('the site is built, with every page and the API of every entry point', async (t) => {
  t.equal(built.code, 0, built.output)
  const pages = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.md') && !/(^|\/)(node_modules|\.vitepress)\//.test(path))
  t.ok(pages.length > 40)
  for (const path of pages) t.ok(files.has(path === 'README.md' ? 'index.html' : path.replace(/\.md$/, '.html')), path)
  const entries = ['fastify-user-sessions', 'fastify-user-sessions/express', 'fastify-user-sessions/testing']
  const api = readFileSync(join(folder, 'api/index.html'), 'utf8').replaceAll('<wbr/>', '')
  for (const entry of entries) t.ok(api.includes(`>${entry}<`), entry)
})

t.test('every link inside the site leads to a file, and every anchor to an id in it', async (t) => {
  const html = new Map([...files].filter((path) => path.endsWith('.html')).map((path) => [path, readFileSync(join(folder, path), 'utf8')]))
  const broken: string[] = []
  let count = 0
  for (const [path, text] of html) {
    for (const [, href = ''] of text.matchAll(/<a [^>]*?href="([^"]*)"/g)) {
      const { origin, pathname, hash } = new URL(href, `http://site${BASE}${path}`)
      if (origin !== 'http://site') continue
      count++
      const file = decodeURI(pathname.endsWith('/') ? `${pathname}index.html` : pathname).replace(BASE, '')
      const isThere = files.has(file) && (hash === '' || !file.endsWith('.html') || html.get(file)?.includes(`id="${decodeURIComponent(hash.slice(1))}"`) === true)
      if (!isThere) broken.push(`${path}: ${href}`)
    }
  }
  t.ok(count > 1_000)
  t.strictSame(broken, [])
})

t.test('the search finds a page, and nothing is asked of another host', async (t) => {
  const { page, origin, elsewhere, faults, missing } = await visit(t, browser, '')
  await page.keyboard.press('Control+k')
  await page.fill('#localsearch-input', 'remember me')
  const hit = page.locator('#localsearch-list a').first()
  await hit.waitFor()
  const target = await hit.getAttribute('href') ?? ''
  await hit.click()
  await page.waitForURL((url) => url.pathname !== BASE)
  t.equal(new URL(page.url()).pathname, new URL(target, origin).pathname)
  // The address changes before the page does.
  await page.locator('.vp-doc', { hasText: /remember/i }).waitFor()
  t.strictSame({ elsewhere, faults, missing }, { elsewhere: [], faults: [], missing: [] })
})

t.test('the navigation leads to the API and back', async (t) => {
  const { page, elsewhere, faults, missing } = await visit(t, browser, 'reference/options.html')
  await page.locator('.VPSidebar a', { hasText: 'API of all exports' }).click()
  await page.waitForURL(`**${BASE}api/index.html`)
  t.match(await page.textContent('body'), /fastify-user-sessions\/express/)
  await page.locator('a', { hasText: 'Guides' }).first().click()
  await page.waitForURL(`**${BASE}`)
  t.strictSame({ elsewhere, faults, missing }, { elsewhere: [], faults: [], missing: [] })
})

for (const scheme of ['light', 'dark'] as const) {
  t.test(`a page is ${scheme} for those who like it so, and everybody can read it`, async (t) => {
    const { page, origin } = await visit(t, browser, 'reference/options.html', scheme)
    for (const path of ['', 'reference/options.html', 'tutorial.html']) {
      await goTo(page, `${origin}${BASE}${path}`)
      await page.evaluate(axe.source)
      // The shortcut beside the word on the theme's search button is no part of its name.
      const { violations } = await page.evaluate<AxeResults>("axe.run({ rules: { 'label-content-name-mismatch': { enabled: false } } })")
      t.strictSame(violations.map(({ id, nodes }) => [id, nodes.length, nodes[0]?.html]), [], path)
    }
    const [red = NaN] = (await page.evaluate<string>('getComputedStyle(document.body).backgroundColor')).match(/\d+/g)?.map(Number) ?? []
    t.ok(scheme === 'dark' ? red < 64 : red > 192, `red: ${red}`)
    await page.locator('.VPNavBarAppearance button').click()
    t.equal(await page.evaluate('document.documentElement.classList.contains("dark")'), scheme === 'light')
  })
}

t.test('on a phone no page is wider than the screen', async (t) => {
  const { page, origin } = await visit(t, browser, '')
  await page.setViewportSize({ width: 390, height: 844 })
  const wide: string[] = []
  for (const path of [...files].filter((path) => path.endsWith('.html') && !path.startsWith('api/'))) {
    await page.goto(`${origin}${BASE}${path}`)
    const width = await page.evaluate<number>('document.documentElement.scrollWidth')
    if (width > 390) wide.push(`${path}: ${width}`)
  }
  t.strictSame(wide, [])
})
