import type { Browser, BrowserContext, Cookie, Page, Response } from 'playwright-core'
import type { Owner } from '../helpers/redis.ts'
import type { Site } from './site.ts'

/** Somebody whose browser knows nothing yet, at an empty page. */
export async function newVisitor (t: Owner, browser: Browser): Promise<{ context: BrowserContext, page: Page }> {
  const context = await browser.newContext()
  t.teardown(async () => await context.close())
  return { context, page: await context.newPage() }
}

/** Who the application's page greets; `nobody` when nobody is signed in. */
export async function who (page: Page, { url }: Pick<Site, 'url'>): Promise<string | null> {
  await page.goto(url)
  return await page.textContent('#who')
}

/** Ada signs in by the form of the page. */
export async function signIn (page: Page, { url }: Pick<Site, 'url'>, { password = 'ada\'s password', remember = false } = {}): Promise<void> {
  await page.goto(url)
  await submit(page, '#sign-in', { username: 'ada', password, remember })
}

export async function signOut (page: Page, { url }: Pick<Site, 'url'>): Promise<void> {
  await page.goto(url)
  await submit(page, '#sign-out')
}

/** Fills in a form, submits it as its button does, and waits for the page that it leads to. */
export async function submit (page: Page, form: string, fields: Record<string, string | boolean> = {}): Promise<void> {
  const gone = page.waitForEvent('domcontentloaded')
  await page.evaluate(({ form, fields }) => {
    const element = (globalThis as any).document.querySelector(form)
    for (const name in fields) {
      const value = fields[name]
      if (typeof value === 'boolean') element[name].checked = value
      else element[name].value = value
    }
    element.requestSubmit()
  }, { form, fields })
  await gone
}

/** What a script of the page sends, and how much of the answer it sees. */
export async function send (page: Page, url: string, init: RequestInit = {}): Promise<{ status: number, headers: Record<string, string>, body: string } | { failed: string }> {
  return await page.evaluate(async ({ url, init }) => {
    try {
      const response = await fetch(url, init)
      return { status: response.status, headers: Object.fromEntries(response.headers), body: await response.text() }
    } catch (error) {
      return { failed: String(error) }
    }
  }, { url, init })
}

export const json = (body: unknown): RequestInit => ({ method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })

/** All cookies that the browser keeps, or those it would send to an address; without their values. */
export async function jar (context: BrowserContext, url?: string): Promise<Array<Omit<Cookie, 'value'>>> {
  return (await context.cookies(url)).map(({ value, ...rest }) => rest)
}

/** The values of the cookies that the browser would send to an address. */
export async function values (context: BrowserContext, url: string): Promise<string[]> {
  return (await context.cookies(url)).map(({ value }) => value)
}

/** Goes to a page that submits a form by itself, and gives the answer to that. */
export async function lure (page: Page, trap: string, action: string): Promise<Response> {
  const answer = page.waitForResponse((response) => response.url() === action && response.request().method() === 'POST')
  await page.goto(trap, { waitUntil: 'commit' })
  const response = await answer
  await page.waitForURL(action)
  return response
}

/** Opens the application's socket from a page; what is given then waits for a word to be heard of it, and tells all that was. */
export async function listen (page: Page, { url }: Pick<Site, 'url'>): Promise<(word: string) => Promise<string[]>> {
  await page.evaluate(`
    heard = []
    socket = new WebSocket('${url.replace('http', 'ws')}/live')
    socket.onopen = () => heard.push('open')
    socket.onmessage = ({ data }) => heard.push(data)
    socket.onclose = ({ code }) => heard.push('closed ' + code)
    undefined`)
  return async (word) => {
    await page.waitForFunction(`heard.includes('${word}')`)
    return await page.evaluate('heard')
  }
}
