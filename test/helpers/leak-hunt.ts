import { createHash } from 'node:crypto'
import { subscribe } from 'node:diagnostics_channel'
import type { ServerResponse } from 'node:http'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { SessionOptions } from '../../lib/index.ts'
import { kContext } from '../../lib/http/context.ts'
import { DeviceBinding } from '../../lib/device/binding.ts'
import type { PluginContext } from '../../lib/http/context.ts'
import { Credentials } from '../../lib/session/credentials.ts'
import { secretOf, watchRandomSource } from './random-source.ts'

/*
 * Looks for what must be nowhere: the secret of every token that this process draws, what is stored of it, and the
 * secrets and keys that applications are given; in every log line, every header, every body and every event. Begins
 * with the import of this file, at no cost to speak of: what is seen is reduced at once to those runs of characters
 * that may be a secret, and compared when a test has ended.
 */

/** As long as the secret half of a token; all else that is looked for is longer. */
const SHORTEST = 32
const RUN = /[\w+/-]{32,}/g
/** Shorter ones stand in texts by chance. */
const SHORTEST_CONFIGURED = 8

/** What was drawn and is not looked for yet; then by its first characters, what it is and all of it. */
const drawn = new Set<string>()
const wanted = new Map<string, Array<{ whole: string, what: string }>>()
const configured = new Map<string, string>()

watchRandomSource((secret) => drawn.add(secret))

// A token that is derived rather than drawn (of a session that is adopted), and one that another process drew.
const { sign } = Credentials.prototype
Credentials.prototype.sign = function (token) {
  drawn.add(secretOf(token))
  return sign.call(this, token)
}

// The short cookie of a session that is bound to a device: what follows its end.
const { shortCookie } = DeviceBinding.prototype
DeviceBinding.prototype.shortCookie = function (bound, now) {
  const made = shortCookie.call(this, bound, now)
  lookFor(made.value.slice(made.value.indexOf('.') + 1), 'a short cookie')
  return made
}

/** What one application has shown, or what is nobody's in particular. */
export class Sight {
  readonly #runs = new Map<string, string>()
  readonly #leaks = new Set<string>()

  see (where: () => string, text: string): void {
    for (const [secret, what] of configured) if (text.includes(secret)) this.#leaks.add(`${what} in ${where()}`)
    for (const [run] of text.matchAll(RUN)) if (!this.#runs.has(run)) this.#runs.set(run, where())
  }

  /** What was found, and where; never the thing itself. */
  get leaks (): string[] {
    lookForDrawn()
    for (const [run, where] of this.#runs) {
      for (let start = 0; start + SHORTEST <= run.length; start++) {
        for (const { whole, what } of wanted.get(run.slice(start, start + SHORTEST)) ?? []) if (run.startsWith(whole, start)) this.#leaks.add(`${what} in ${where}`)
      }
    }
    return [...this.#leaks]
  }
}

function lookForDrawn (): void {
  for (const secret of drawn) {
    lookFor(secret, 'the secret of a token')
    for (const encoding of ['base64url', 'base64', 'hex'] as const) lookFor(createHash('sha256').update(secret).digest(encoding).replace(/=+$/, ''), 'the hash of a token\'s secret')
  }
  drawn.clear()
}

function lookFor (whole: string, what: string): void {
  const beginning = whole.slice(0, SHORTEST)
  const others = wanted.get(beginning) ?? []
  if (!others.some((other) => other.whole === whole)) wanted.set(beginning, [...others, { whole, what }])
}

/** What an application is given and must keep to itself. */
export function learnOptions ({ secret, encryption, redis }: Partial<SessionOptions>): void {
  const learn = (each: unknown, what: string): void => { if (typeof each === 'string' && each.length >= SHORTEST_CONFIGURED) configured.set(each, what) }
  for (const each of [secret].flat()) learn(each, 'a secret of the options')
  for (const each of encryption?.keys ?? []) learn(each, 'a key of the options')
  if (typeof redis === 'string' && URL.canParse(redis)) learn(decodeURIComponent(new URL(redis).password), 'the password of Redis')
}

const sights = new WeakMap<object, Sight>()
const ofAll = new Set<Sight>()
const ofNobody = newSight()

function newSight (): Sight {
  const sight = new Sight()
  ofAll.add(sight)
  return sight
}

/** What this application shows. */
export function sightOf (app: object): Sight {
  return sights.get(app) ?? ofNobody
}

/** @throws where something was found: in the test that showed it. */
export function assertNoLeaks (app: object): void {
  const sight = sightOf(app)
  ofAll.delete(sight)
  const { leaks } = sight
  if (leaks.length > 0) throw new Error(`leaked: ${leaks.join('; ')}`)
}

// Every application of this process, also those that a test makes by itself.
subscribe('fastify.initialization', (message) => {
  const app = (message as { fastify: FastifyInstance }).fastify
  const sight = newSight()
  sights.set(app, sight)
  app.addHook('onRequest', (request, reply, done) => {
    watchReply(sight, request, reply.raw)
    done()
  })
})

for (const name of ['created', 'revoked', 'expired', 'login-failed', 'used-after-end', 'device-mismatch', 'session-forked']) {
  subscribe(`fastify-user-sessions:${name}`, (event) => ofNobody.see(() => `event ${name}`, JSON.stringify(event)))
}
process.on('warning', (warning) => ofNobody.see(() => 'a warning of the process', String(warning.stack)))

process.once('exit', () => {
  const leaks = [...ofAll].flatMap((sight) => sight.leaks)
  if (leaks.length === 0) return
  console.error(`leaked: ${leaks.join('; ')}`)
  process.exitCode = 1
})

function watchReply (sight: Sight, request: FastifyRequest, raw: ServerResponse): void {
  const of = `${request.method} ${request.routeOptions.url ?? request.url}`
  let handsOut = false
  const seeBody = (chunk: unknown): void => {
    if (typeof chunk !== 'string' && !Buffer.isBuffer(chunk)) return
    const text = typeof chunk === 'string' ? chunk : chunk.toString('latin1')
    sight.see(() => `the body of ${of}`, handsOut ? text.replace(TOKEN_MEMBER, '') : text)
  }
  const { writeHead, write, end } = raw
  raw.writeHead = ((...args: Parameters<typeof writeHead>) => {
    const last: unknown = args.at(-1)
    const headers: Record<string, unknown> = { ...raw.getHeaders(), ...typeof last === 'object' && last }
    handsOut = isTokenReply(request, args[0], headers)
    for (const [name, value] of Object.entries(headers)) {
      for (const line of [value].flat()) sight.see(() => `the header ${name} of ${of}`, name === 'set-cookie' ? withoutSession(request, String(line)) : String(line))
    }
    return writeHead.apply(raw, args)
  }) as typeof writeHead
  raw.write = ((...args: Parameters<typeof write>) => {
    seeBody(args[0])
    return write.apply(raw, args)
  }) as typeof write
  raw.end = ((...args: Parameters<typeof end>) => {
    seeBody(args[0])
    return end.apply(raw, args)
  }) as typeof end
}

/** A `Set-Cookie` line without the value of the session cookie, which is where a token belongs, or of its short cookie. */
function withoutSession (request: FastifyRequest, line: string): string {
  const context = (request.server as { [kContext]?: PluginContext })[kContext]
  // An example uses the package as it is built, whose context is not to be seen.
  const names = context === undefined ? DEFAULT_NAMES : [...context.options.cookieNames.slice(0, 1), ...context.device?.binding.cookieNames.slice(0, 1) ?? []]
  return names.some((name) => line.startsWith(`${name}=`)) ? line.replace(/^[^;]*/, '') : line
}

/** The default names of the cookie. The last is that of `expressSession: 'share'`. */
const DEFAULT_NAMES = ['__Host-sid', 'sid', 'connect.sid']

const TOKEN_MEMBER = /^\{"token":"fus_[\w.-]+"/

/** The one route that shows a token: in the member it has for it, to whoever has just signed in, and to no cache. */
function isTokenReply (request: FastifyRequest, status: number, headers: Record<string, unknown>): boolean {
  return request.method === 'POST' && /\/token$/.test(request.routeOptions.url ?? '') && status === 200 && headers['cache-control'] === 'no-store'
}
