// The pages, as template strings. `html` escapes every value that is put into it.
import type { SessionEvent, SessionInfo } from 'fastify-user-sessions'

/** A piece of a page, safe to send and to put into another piece. */
class Html {
  readonly text: string

  constructor (text: string) {
    this.text = text
  }
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

function html (strings: TemplateStringsArray, ...values: Array<string | Html | Html[]>): Html {
  const escaped = (text: string) => text.replace(/[&<>"']/g, (each) => ENTITIES[each] ?? '')
  const piece = (value: string | Html): string => value instanceof Html ? value.text : escaped(value)
  return new Html(String.raw({ raw: strings }, ...values.map((value) => [value].flat().map(piece).join(''))))
}

const NOTHING = new Html('')
const time = (at: number): string => new Date(at).toISOString().slice(0, 19).replace('T', ' ')

/** What the routes say of a failure, by `error=` in the address. */
const PROBLEMS: Record<string, string> = {
  invalid_credentials: 'Wrong username or password.',
  too_many_attempts: 'Too many failed logins. Try again later.',
  reauth_required: 'Please sign in again.',
  unauthenticated: 'Please sign in.',
  not_found: 'This session has ended already.'
}

/** A whole page. */
function page (title: string, body: Html, error?: string): string {
  const problem = error === undefined ? undefined : PROBLEMS[error] ?? 'This did not work.'
  return html`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${title}</title>
<link rel="stylesheet" href="/style.css">
<main>
<h1>${title}</h1>
${problem === undefined ? NOTHING : html`<p role="alert">${problem}</p>`}
${body}
</main>
</html>
`.text
}

const SIGN_OUT = html`<form method="post" action="/auth/logout"><button>Sign out</button></form>`

export const loginPage = (error?: string): string => page('Sign in', html`
<form method="post" action="/auth/login">
<label>Username <input name="username" maxlength="64" autocomplete="username" required></label>
<label>Password <input name="password" type="password" maxlength="128" autocomplete="current-password" required></label>
<button>Sign in</button>
</form>`, error)

export const homePage = (name: string, isOperator: boolean): string => page(`Hello, ${name}`, html`
${isOperator ? html`<p><a href="/admin">Sessions of users</a></p>` : NOTHING}
${SIGN_OUT}`)

export const errorPage = (message: string): string => page('Sorry', html`
<p role="alert">${message}</p>
<p><a href="/">Go on</a></p>`)

const REASON = html`<label>Reason <input name="reason" maxlength="64"></label>`

const row = ({ id, label, userAgent, ip, createdAt, lastSeenAt, kind, actor }: SessionInfo): Html => html`
<li>
<h3>${label ?? userAgent ?? 'Unknown device'}</h3>
<p>${kind}, from ${ip ?? 'an unknown address'}, since ${time(createdAt)}, last used ${time(lastSeenAt)}
${actor === null ? NOTHING : html`, <strong>${actor} acts as the user</strong>`}</p>
<form method="post" action="/admin/sessions/${id}/revoke">${REASON}<button>End this session</button></form>
</li>`

const found = (userId: string, sessions: SessionInfo[]): Html => {
  if (sessions.length === 0) return html`<h2>Sessions of ${userId}</h2><p>None.</p>`
  return html`
<h2>Sessions of ${userId}</h2>
<ul id="sessions">${sessions.map(row)}</ul>
<form method="post" action="/admin/sessions/revoke">
<input type="hidden" name="userId" value="${userId}">${REASON}<button>End all</button>
</form>`
}

const ended = ({ at, actor, userId, statedReason }: SessionEvent): Html => html`
<li>${time(at)}: <strong>${actor ?? ''}</strong> ended a session of
<strong>${userId}</strong>${statedReason === null ? NOTHING : html`: ${statedReason}`}</li>`

interface Found { userId: string, sessions: SessionInfo[], audit: SessionEvent[], error: string | undefined }

export const adminPage = ({ userId, sessions, audit, error }: Found): string => page('Sessions of users', html`
<form method="get" action="/admin" role="search">
<label>User <input name="userId" value="${userId}" maxlength="255" required></label><button>Search</button>
</form>
${userId === '' ? NOTHING : found(userId, sessions)}
<h2>Ended lately</h2>
${audit.length === 0 ? html`<p>None.</p>` : html`<ul id="audit">${audit.map(ended)}</ul>`}
${SIGN_OUT}`, error)
