import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { errors } from '../../errors.ts'
import { withQuery } from '../../util/site-path.ts'
import { warnOnce } from '../context.ts'
import type { PluginContext } from '../context.ts'
import { requestSessionOf } from '../request-session.ts'

const URL_ENCODED = 'application/x-www-form-urlencoded'
const FORM = /^(application\/x-www-form-urlencoded|multipart\/form-data)\b/i

/** Whether a browser's form was sent, and not something of a script. */
export function isForm ({ headers }: FastifyRequest): boolean {
  return FORM.test(headers['content-type'] ?? '')
}

/** What a header may hold of a path or a URL (RFC 3986 2): a browser percent-encodes the rest by itself. */
const TARGET = /^[\x21-\x7E]+$/

/** Says what is wrong with the option `redirects`, whose members have these names. */
export function redirectFaults (redirects: unknown, names: readonly string[]): string[] {
  const FAULT = 'redirects must be paths or URLs'
  if (redirects === undefined) return []
  if (typeof redirects !== 'object' || redirects === null) return [FAULT]
  return Object.entries(redirects).flatMap(([name, target]: [string, unknown]) => {
    if (!names.includes(name)) return [`redirects.${name} is not an option`]
    return target === undefined || (typeof target === 'string' && TARGET.test(target)) ? [] : [FAULT]
  })
}

const NO_PARSER = `redirects are for forms, and no parser for ${URL_ENCODED} is registered here:` +
  ' register @fastify/formbody before these routes'

/** Warns, once the application is ready, where a scope reads no forms: each would be sent to the page of failures. */
export function warnWithoutParser (context: PluginContext, scope: FastifyInstance): void {
  scope.addHook('onReady', (done) => {
    if (!scope.hasContentTypeParser(URL_ENCODED)) warnOnce(context, NO_PARSER)
    done()
  })
}

/** Has a browser show a page with GET, whatever it sent (RFC 9110 15.4.4). */
export function seeOther (reply: FastifyReply, target: string): FastifyReply {
  return reply.redirect(target, 303)
}

/** Returns the page to which the form of a request is sent after a failure with this code. */
type TargetOf = (code: string, request: FastifyRequest, reply: FastifyReply) => string

/** Handles the errors of a route. */
type ErrorHandler = (error: unknown, request: FastifyRequest, reply: FastifyReply) => Promise<unknown>

/**
 * Makes an error handler that sends forms to a page with `error=` in its query. Everything else goes to the error
 * handler of the application.
 */
export function failedForms (context: PluginContext, targetOf: TargetOf): ErrorHandler {
  return async (error, request, reply) => {
    // Rejected, not thrown: Fastify would take what is thrown, and no Error, for the body of the reply.
    if (!isForm(request)) throw error
    const unsaved = await requestSessionOf(context, request).fail(reply)
    for (const failure of [error, ...unsaved]) logFailure(failure, request, reply)
    const [told = error] = unsaved
    const { headers = {} } = (told ?? {}) as { headers?: Record<string, string> }
    // With a redirect it would say when to follow that (RFC 9110 10.2.3).
    const { 'retry-after': retryAfter, ...others } = headers
    const code = codeOf(told, reply)
    const query = { error: code, ...SECONDS.test(String(retryAfter)) && { retry_after: String(retryAfter) } }
    return seeOther(reply.headers(others), withQuery(targetOf(code, request, reply), query))
  }
}

const SECONDS = /^\d{1,9}$/

/** Returns the status that the error of a reply has, as Fastify reads it. */
function statusOf (error: unknown, reply: FastifyReply): number {
  const { statusCode, status } = (error ?? {}) as { statusCode?: unknown, status?: unknown }
  return [statusCode, status, reply.statusCode].map(Number).find((each) => each >= 400 && each <= 599) ?? 500
}

/**
 * Returns what a page is told of an error: the name of its code if that is one of this package's, else whose fault it
 * is. Never text of the error: it would stand in the address, in histories and in logs.
 */
function codeOf (error: unknown, reply: FastifyReply): string {
  const { code } = (error ?? {}) as { code?: unknown }
  const [, name = ''] = /^ERR_SESSION_(\w+)$/.exec(String(code)) ?? []
  if (Object.hasOwn(errors, name)) return name.toLowerCase()
  return statusOf(error, reply) < 500 ? 'bad_request' : 'server_error'
}

/** Logs an error, with its status, as Fastify's own error handler does by default, which this one is in place of. */
function logFailure (error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const { message } = (error ?? {}) as { message?: string }
  reply.code(statusOf(error, reply))
  if (reply.statusCode >= 500) request.log.error({ req: request, res: reply, err: error }, message)
  else if (request.server.initialConfig.disableRequestLogging !== true) {
    request.log.info({ res: reply, err: error }, message)
  }
}
