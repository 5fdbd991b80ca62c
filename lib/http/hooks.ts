import { createHash } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Credential } from '../session/credentials.ts'
import { kReply, kRequestSession, kStoredSession, routeConfig } from './context.ts'
import type { PluginContext, SessionRequest } from './context.ts'
import { assertSameSite, opensWebSocket } from './cross-site.ts'
import { navigates } from './device-asking.ts'
import { keepPrivate } from './reply-head.ts'
import { requestSessionOf, storedSessionOf } from './request-session.ts'
import type { StoredSession } from './stored-session.ts'
import { discard, WaitingPayload } from './waiting-payload.ts'

/**
 * Adds the hooks that every request meets. They load its session if it carries a credential that verifies, and store
 * what changed before the reply goes out. A request without a credential costs nothing.
 */
export function addHooks (app: FastifyInstance, context: PluginContext): void {
  endAtReply(app)
  // Both hooks answer at once when there is nothing to wait for, and with a promise when there is:
  // Fastify catches what the rest of the request throws behind a promise of a hook, not behind a callback.
  app.addHook('onRequest', (request, reply, done) => {
    (request as SessionRequest)[kReply] = reply;
    // An earlier hook may have asked for it.
    (request as SessionRequest)[kRequestSession]?.stored.awaitReply()
    if (request.headers.cookie === undefined && request.headers.authorization === undefined) return done()
    if (routeConfig(request).skip) return done()
    const credential = admitted(context, request)
    if (credential === null) return done()
    const stored = storedSessionOf(context, request, { willLoad: true })
    const loading = stored.load(credential)
    // It is used now, and its reply is never over.
    if (opensWebSocket(request)) return Promise.resolve(loading).then(() => stored.useAtOnce())
    const mayLoadAgain = context.device !== null && navigates(request)
    if (loading !== undefined) return mayLoadAgain ? loading.then(() => stopped(loadAgain(stored, reply))) : loading
    // A reply that is sent needs no other hook.
    if (!mayLoadAgain || !loadAgain(stored, reply)) done()
  })

  app.addHook('onSend', (request, reply, payload, done) => {
    const { [kStoredSession]: stored, [kRequestSession]: known } = request as SessionRequest
    // `undefined` for an error of a context that is older than the registration.
    if (stored == null) return done(null, payload)
    // Most routes read who is signed in, and no more.
    if (known === null && !stored.isTouchDue) {
      stored.isReplying = true
      stored.writeCookie(reply)
      stored.endReplyToNobody()
      return done(null, payload)
    }
    const session = known ?? requestSessionOf(context, request)
    const { turnedAwayTo } = session
    if (turnedAwayTo !== null) payload = redirectOnly(reply, turnedAwayTo, payload)
    // Fastify waits for none of them: the one that waits is the reply.
    if (session.waiting !== null) return session.sendAsWell(payload, reply)
    session.notePayload(payload)
    const work = session.beforeReply(reply)
    if (work === undefined) {
      stored.writeCookie(reply)
      stored.endReplyToNobody()
      return done(null, payload)
    }
    const waiting = session.waiting = new WaitingPayload(payload, reply)
    return work.then(() => {
      session.waiting = null
      const released = waiting.release(reply)
      stored.writeCookie(reply)
      stored.endReplyToNobody()
      return released
    }, (error: unknown) => {
      session.waiting = null
      stored.writeCookie(reply)
      waiting.destroy()
      throw error
    })
  })
}

/**
 * Has no route run after a reply. Fastify stops where a reply is over, and one that waits is not: the route of a guard
 * that does not return its reply would run, now and then.
 */
function endAtReply (app: FastifyInstance): void {
  app.addHook('onRoute', (route) => {
    const { handler } = route
    route.handler = function (request, reply) {
      if ((request as SessionRequest)[kStoredSession]?.isReplying === true) return undefined
      return handler.call(this, request, reply)
    }
  })
}

/** Returns a promise that does not resolve where a request has been answered: nothing that follows may run. */
function stopped (isAnswered: boolean): Promise<never> | undefined {
  return isAnswered ? new Promise(() => {}) : undefined
}

const RELOAD = 'location.reload()'
const ALLOWS_RELOAD = `default-src 'none'; script-src 'sha256-${createHash('sha256').update(RELOAD).digest('base64')}'`

/**
 * A page that loads itself again. That is no request of another site any more, so that the browser first gets its short
 * cookie. By a script, as what follows a # stays then, and without scripts as well.
 */
const LOADS_AGAIN = '<!doctype html><meta charset="utf-8"><title>…</title>' +
  `<script>${RELOAD}</script><noscript><meta http-equiv="refresh" content="0"></noscript>`

/** Has a browser load its page again, if it has to. Returns whether that is so, and the reply is sent. */
function loadAgain (stored: StoredSession, reply: FastifyReply): boolean {
  if (!stored.hasToLoadAgain) return false
  keepPrivate(reply)
  reply.header('content-security-policy', ALLOWS_RELOAD).type('text/html; charset=utf-8').send(LOADS_AGAIN)
  return true
}

/**
 * Makes a reply the redirect to a page, whatever its route has sent: a route whose guard nobody awaits goes on, and
 * what it sends is not for this client. An error of the server is told. Returns the payload.
 */
function redirectOnly (reply: FastifyReply, page: string, payload: unknown): unknown {
  if (reply.statusCode >= 500) return payload
  discard(payload)
  for (const name of Object.keys(reply.getHeaders())) if (OF_CONTENT.test(name)) reply.removeHeader(name)
  reply.code(303).header('location', page)
  keepPrivate(reply)
  return null
}

/** Headers that describe a payload. */
const OF_CONTENT = /^(content-(?!security)|etag$|last-modified$)/

/**
 * Returns the credential of a request, `null` if it has none.
 * @throws ERR_SESSION_CSRF_REJECTED, ERR_SESSION_AMBIGUOUS_CREDENTIALS; nobody is signed in by such a request
 */
function admitted (context: PluginContext, request: FastifyRequest): Credential | null {
  try {
    const credential = context.core.credentials.read(request.headers)
    if (credential !== null) assertSameSite(context, request)
    return credential
  } catch (refusal) {
    storedSessionOf(context, request, { refusal: refusal as Error })
    throw refusal
  }
}
