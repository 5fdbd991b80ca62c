// The pages: functions from what there is to HTML.
import type { RequestAuth, SessionInfo } from 'fastify-user-sessions'
import type { Stored } from './backend.ts'
import type { Command, Cost } from './cost.ts'
import { Html, html } from './html.ts'
import type { User } from './users.ts'

/** What a page says after a form was sent. A closed list: an address can name one of them, and no more. */
const SAYINGS: Record<string, string> = {
  'signed-out': 'You are signed out.',
  'session-ended': 'You were signed out: your session ran out, or was ended from another device.',
  'other-device': 'You are not signed in: this session belongs to another device.',
  everywhere: 'You are signed out on all your devices, this one included.',
  ended: 'That device is signed out.',
  gone: 'That device was signed out already.',
  others: 'All your other devices are signed out.',
  confirmed: 'Thank you. Now you can sign out your other devices, for ten minutes.',
  email: 'Your e-mail address has changed.'
}

const PURPOSES = {
  email: 'Before your e-mail address changes, show once more that it is you.',
  devices: 'You signed in a while ago. Before other devices are signed out, show once more that it is you.'
}

/** Whether the code of the authenticator app is asked for this. */
export function isPurpose (name: unknown): name is keyof typeof PURPOSES {
  return typeof name === 'string' && Object.hasOwn(PURPOSES, name)
}

interface Page {
  title: string
  main: Html
  /** Who is signed in; the page listens for the end of that session. */
  auth?: RequestAuth
  /** The page asks by itself whether the server is back. */
  retries?: boolean
}

function page ({ title, main, auth, retries = false }: Page): Html {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title} · Sessions demo</title>
<link rel="icon" href="/icon.svg">
<link rel="stylesheet" href="/style.css">
<script src="/live.js" defer></script>
</head>
<body${auth !== undefined && html` data-session="${auth.id}"`}${retries && html` data-retries`}>
<a class="skip" href="#main">Skip to the content</a>
<header>
  <p class="brand"><a href="/">fastify-user-sessions</a> <span>demo</span></p>
  ${auth !== undefined && html`<form method="post" action="/sign-out"><button>Sign out</button></form>`}
</header>
<main id="main" tabindex="-1">
${main}
</main>
${auth !== undefined && ENDED}
</body>
</html>
`
}

/** What `live.js` shows in place of the page when its session has ended. */
const ENDED = html`<template id="ended">
<div class="narrow">
  <h1 tabindex="-1">You are signed out</h1>
  <p>Your session has ended just now: from another device, in another window, or because its time was up.
    What this page showed about you is gone.</p>
  <p><a class="button" href="/sign-in">Sign in again</a></p>
</div>
</template>`

function notice (say: string | undefined): Html | false {
  return say !== undefined && Object.hasOwn(SAYINGS, say) && html`<p class="notice" role="status">${SAYINGS[say]}</p>`
}

function alert (problem: string | undefined): Html | false {
  return problem !== undefined && html`<p class="problem" id="problem" role="alert">${problem}</p>`
}

/** Attributes of a field: where there is a problem, it says so. */
function invalid (problem: string | undefined): Html | false {
  return problem !== undefined && html` aria-invalid="true" aria-describedby="problem"`
}

interface SignIn {
  /** The name that was typed in. */
  username?: string
  problem?: string
  say?: string | undefined
}

export function signInPage ({ username = '', problem, say }: SignIn): Html {
  return page({
    title: 'Sign in',
    main: html`<div class="narrow">
<h1>Sign in</h1>
${notice(say)}${alert(problem)}
<form method="post" action="/sign-in" class="stack">
  <p><label for="username">Name</label>
    <input id="username" name="username" value="${username}" maxlength="100" required
      autocomplete="username" autocapitalize="none" spellcheck="false"${invalid(problem)}></p>
  <p><label for="password">Password</label>
    <input id="password" name="password" type="password" maxlength="1000" required
      autocomplete="current-password"${invalid(problem)}></p>
  <p class="check"><input id="remember" name="remember" type="checkbox" value="on">
    <label for="remember">Stay signed in <span>Until 30 days without use, 90 days at most</span></label></p>
  <p><button class="primary">Sign in</button></p>
</form>
<aside class="hint" aria-labelledby="people">
  <h2 id="people">Two people live here</h2>
  <dl>
    <div><dt>ada</dt><dd><code>lovelace</code></dd></div>
    <div><dt>bob</dt><dd><code>builder</code></dd></div>
  </dl>
  <p>Sign in here and in another browser, and end one from the other.</p>
</aside>
</div>`
  })
}

interface Account {
  auth: RequestAuth
  user: User
  email: string
  devices: SessionInfo[]
  cost: Cost
  stored: Stored | null
  backend: string
  say: string | undefined
}

export function accountPage ({ auth, user, email, devices, cost, stored, backend, say }: Account): Html {
  return page({
    title: 'Your account',
    auth,
    main: html`<h1>Hello, ${user.name}</h1>
${notice(say)}
<p id="news" class="notice" role="status" hidden></p>
<div class="columns">
<div>
${you(auth, email)}
${deviceList(auth, devices)}
</div>
<div class="inside">
${costPanel(cost, backend)}
${storedPanel(stored, backend)}
</div>
</div>`
  })
}

function you (auth: RequestAuth, email: string): Html {
  const lasts = auth.meta?.remember === true ? '30 days without use' : 'this browser closes, or 30 minutes without use'
  return html`<section aria-labelledby="you">
<h2 id="you">You</h2>
<dl class="facts">
  <div><dt>E-mail</dt>
    <dd>${email} <a href="/email">Change<span class="unseen"> your e-mail address</span></a></dd></div>
  <div><dt>Signed in</dt><dd>${time(auth.authenticatedAt)}${auth.meta?.code === true && ', with a code'}</dd></div>
  <div><dt>Until</dt><dd>${lasts}</dd></div>
  <div><dt>Bound to this device</dt><dd>${auth.deviceBound ? 'yes' : 'no'}</dd></div>
</dl>
<form method="post" action="/copy"><button id="copy">Copy my cookies</button></form>
</section>`
}

function deviceList (auth: RequestAuth, devices: SessionInfo[]): Html {
  const others = html`<form method="post" action="/devices/others/end">
    <button id="others">Sign out all others</button></form>`
  return html`<section id="devices" aria-labelledby="your-devices">
<h2 id="your-devices">Your devices</h2>
<ul class="devices">
${devices.map((device) => deviceItem(device, device.id === auth.id))}
</ul>
<div class="actions">
  ${devices.length > 1 && others}
  <form method="post" action="/devices/end"><button id="everywhere" class="danger">Sign out everywhere</button></form>
</div>
</section>`
}

function deviceItem ({ id, userAgent, ip, createdAt, lastSeenAt }: SessionInfo, isThis: boolean): Html {
  const name = userAgent ?? 'Unknown device'
  return html`<li>
  ${/ on (iOS|Android)$/.test(name) ? PHONE : COMPUTER}
  <div>
    <h3>${name}${isThis && html` <span class="badge">this device</span>`}</h3>
    <p>${ip ?? 'unknown address'} · ${isThis ? 'in use now' : `last used ${relativeTime(lastSeenAt)}`}</p>
    <p>since ${time(createdAt)}</p>
  </div>
  ${!isThis && html`<form method="post" action="/devices/${id}/end">
    <button id="end-${id}">Sign out<span class="unseen"> ${name}</span></button></form>`}
</li>`
}

const COMPUTER = html`<svg class="device" viewBox="0 0 24 24" aria-hidden="true">
    <rect x="4" y="5" width="16" height="11" rx="1.5"/><path d="M2 19.5h20"/></svg>`
const PHONE = html`<svg class="device" viewBox="0 0 24 24" aria-hidden="true">
    <rect x="7" y="3" width="10" height="18" rx="2"/><path d="M11 18h2"/></svg>`

const IN_MEMORY = 'sessions live in memory'

function costPanel ({ commands, ms }: Cost, backend: string): Html {
  const { length } = commands
  return html`<section aria-labelledby="cost">
<h2 id="cost">What this page cost</h2>
<p class="figures">
  <span><b>${length} ${length === 1 ? 'command' : 'commands'}</b> ${length === 0 ? IN_MEMORY : `to ${backend}`}</span>
  <span><b>${milliseconds(ms)}</b> in all</span>
</p>
${length > 0 && html`<ol class="commands">${commands.map(commandItem)}</ol>
<p class="note">Once a minute one more keeps the session alive.</p>`}
</section>`
}

function commandItem ({ name, keys, ms }: Command, index: number): Html {
  return html`<li><code>${name}${keys.map((key) => html` <span>${key}</span>`)}</code>
  <span>${milliseconds(ms)}</span> <small>${purposeOf(keys, index)}</small></li>`
}

function purposeOf ([key = '']: string[], index: number): string {
  if (key.startsWith('@sess:user:')) return 'which devices you have'
  if (key.startsWith('demo:')) return 'your e-mail address'
  return index === 0 ? 'who you are' : 'what each device is'
}

function storedPanel (stored: Stored | null, backend: string): Html {
  return html`<section aria-labelledby="stored">
<h2 id="stored">What ${backend} holds of this session</h2>
${stored !== null && html`<p><code class="place">${stored.place}</code></p>
<dl class="stored">
${stored.members.map(({ name, value, meaning }) => html`
  <div><dt><code>${name}</code></dt> <dd><code>${value}</code> ${meaning && html`<small>${meaning}</small>`}</dd>
  </div>`)}
</dl>
<p>Data: <code>${stored.data}</code></p>`}
<p class="note">The secret itself is in your cookie and nowhere else. Nothing of what is stored signs anybody in.</p>
</section>`
}

/** A copy of the cookies, to try elsewhere. */
export function copyPage ({ auth, command }: { auth: RequestAuth, command: string }): Html {
  const bound = 'The copy works for ten and a half minutes at most. Then this browser goes on, and the copy gets 401.'
  const free = 'Whoever has the copy is you until this session ends. Sign out here, and it gets 401.'
  return page({
    title: 'A copy of your cookies',
    auth,
    main: html`<div class="narrow">
<h1>A copy of your cookies</h1>
<p>Run this in a terminal, or on another computer:</p>
<p class="place"><code id="command">${command}</code></p>
<p>Bound to this device: <b>${auth.deviceBound ? 'yes' : 'no'}</b>. ${auth.deviceBound ? bound : free}</p>
<p><a class="button" href="/">Back to your account</a></p>
</div>`
  })
}

interface Confirm {
  auth: RequestAuth
  purpose?: string | undefined
  /** The code that is asked for. The demo shows it, as there is no phone. */
  code?: string
  problem?: string
}

export function confirmPage ({ auth, purpose, code, problem }: Confirm): Html {
  const known = isPurpose(purpose) ? purpose : 'devices'
  return page({
    title: 'Is it you?',
    auth,
    main: html`<div class="narrow">
<h1>Is it you?</h1>
<p>${PURPOSES[known]}</p>
${alert(problem)}
<form method="post" action="/confirm" class="stack">
  <input type="hidden" name="for" value="${known}">
  <p><label for="code">Code of your authenticator app</label>
    <input id="code" name="code" maxlength="20" required
      inputmode="numeric" autocomplete="one-time-code"${invalid(problem)}></p>
  <p class="actions"><button class="primary">Go on</button> <a href="/">Not now</a></p>
</form>
${code !== undefined && html`<aside class="hint" aria-labelledby="app">
  <h2 id="app">In place of a phone</h2>
  <p class="code"><output id="shown">${code.slice(0, 3)} ${code.slice(3)}</output></p>
  <p>Your app would show this code now (TOTP, RFC 6238). A real application never does.</p>
</aside>`}
</div>`
  })
}

interface Email {
  auth: RequestAuth
  email: string
  problem?: string
}

export function emailPage ({ auth, email, problem }: Email): Html {
  return page({
    title: 'Your e-mail address',
    auth,
    main: html`<div class="narrow">
<h1>Your e-mail address</h1>
${alert(problem)}
<form method="post" action="/email" class="stack">
  <p><label for="email">New address</label>
    <input id="email" name="email" type="email" value="${email}" maxlength="254" required
      autocomplete="email"${invalid(problem)}></p>
  <p class="actions"><button class="primary">Change it</button> <a href="/">Not now</a></p>
</form>
</div>`
  })
}

interface Message {
  title: string
  text: string
  /** The words of the link that leads on. */
  link: string
  retries?: boolean
}

export function messagePage ({ title, text, link, retries = false }: Message): Html {
  return page({
    title,
    retries,
    main: html`<div class="narrow">
<h1>${title}</h1>
<p>${text}</p>
<p><a class="button" href="/">${link}</a></p>
<p id="news" role="status" hidden></p>
</div>`
  })
}

const EXACT = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short', timeZone: 'UTC' })
const RELATIVE = new Intl.RelativeTimeFormat('en', { numeric: 'auto' })
const UNITS = [['day', 86_400_000], ['hour', 3_600_000], ['minute', 60_000]] as const

/** When something was: how long ago, and exactly. `live.js` tells the exact time in the reader's time zone. */
function time (at: number): Html {
  const exact = html`<time class="exact" datetime="${new Date(at).toISOString()}">${EXACT.format(at)} UTC</time>`
  return html`${relativeTime(at)}, ${exact}`
}

function relativeTime (at: number): string {
  const ago = Math.max(0, Date.now() - at)
  const [unit, ms] = UNITS.find(([, ms]) => ago >= ms) ?? []
  return unit === undefined ? 'just now' : RELATIVE.format(-Math.floor(ago / ms), unit)
}

const milliseconds = (ms: number): string => `${ms.toFixed(1)} ms`
