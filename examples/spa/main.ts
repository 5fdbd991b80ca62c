/// <reference lib="dom" />
/// <reference types="vite/client" />
// The front end: plain TypeScript, on an origin of its own. The cookie is HttpOnly, so the API says who is signed in.

const API: string = import.meta.env.VITE_API ?? 'http://localhost:3000'

const ENDED = 'Your session has ended. Please sign in again.'

interface User { id: string, name: string }
interface Info { authenticated: boolean, user?: User }
interface Failure { code?: string, message: string, retryAfter?: number }

const find = <E extends HTMLElement = HTMLElement>(id: string) => document.getElementById(id) as E

/** Sends a request to the API. Throws the API's error for a status of 400 or more. */
async function api<Answer> (method: 'GET' | 'POST', path: string, body?: object): Promise<Answer> {
  const response = await fetch(API + path, {
    method,
    // The browser sends the cookie, and keeps the one in the reply.
    credentials: 'include',
    ...body !== undefined && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
  })
  const answer: any = response.status === 204 ? null : await response.json()
  const retryAfter = Number(response.headers.get('retry-after'))
  if (!response.ok) throw Object.assign(new Error(), answer, { retryAfter })
  return answer
}

/** Shows the notes of a user, or the login form. */
async function show (user: User | null, message = ''): Promise<void> {
  if (user !== null) showNotes(await api('GET', '/notes'))
  find('name').textContent = user?.name ?? ''
  find('login').hidden = user !== null
  find('notes').hidden = user === null
  say(message)
}

function showNotes (notes: string[]): void {
  const item = (textContent: string) => Object.assign(document.createElement('li'), { textContent })
  find('list').replaceChildren(...notes.map(item))
}

function say (message: string): void {
  find('message').textContent = message
}

async function explain (failure: Failure): Promise<void> {
  switch (failure.code) {
    // 401: the session has run out, or was ended on another device.
    case 'ERR_SESSION_UNAUTHENTICATED': return await show(null, ENDED)
    case 'ERR_SESSION_INVALID_CREDENTIALS': return say('Wrong username or password.')
    case 'ERR_SESSION_TOO_MANY_ATTEMPTS': return say(`Try again in ${Math.ceil((failure.retryAfter ?? 0) / 60)} min.`)
    // 403: the option `origins` of the API does not name this origin.
    case 'ERR_SESSION_CSRF_REJECTED': return say(`The API takes nothing from ${location.origin}.`)
    // 503: the API cannot reach Redis. Nobody was signed out.
    case 'ERR_SESSION_STORE_UNAVAILABLE': return say('Please try again in a moment.')
    // No answer, or one that this origin may not read: then @fastify/cors does not name it.
    case undefined: return say('The API does not answer.')
    default: say(failure.message)
  }
}

/** Runs a handler of an event, and tells the person what went wrong. */
function when (target: EventTarget, type: string, run: (fields: Record<string, unknown>) => Promise<void>): void {
  target.addEventListener(type, (event) => {
    event.preventDefault()
    const fields = target instanceof HTMLFormElement ? Object.fromEntries(new FormData(target)) : {}
    run(fields).catch(explain)
  })
}

when(find('login'), 'submit', async (fields) => {
  const { user } = await api<{ user: User }>('POST', '/auth/login', fields)
  find<HTMLFormElement>('login').reset()
  await show(user)
})

when(find('add'), 'submit', async (fields) => {
  showNotes(await api('POST', '/notes', fields))
  find<HTMLFormElement>('add').reset()
})

when(find('logout'), 'click', async () => {
  await api('POST', '/auth/logout')
  await show(null)
})

/** Asks the API who is signed in. */
async function refresh (): Promise<void> {
  const { user = null } = await api<Info>('GET', '/auth/info')
  const wasSignedIn = !find('notes').hidden
  await show(user, user === null && wasSignedIn ? ENDED : '')
}

refresh().catch(explain)
// Again when the person comes back: they may have signed out in another tab.
when(window, 'focus', refresh)
