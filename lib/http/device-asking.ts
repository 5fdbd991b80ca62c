import type { FastifyRequest } from 'fastify'
import type { ResolvedOptions } from '../options/resolve.ts'
import type { SessionRecord } from '../session/record.ts'
import { JUST_BOUND_MS } from '../util/timings.ts'
import type { PluginContext } from './context.ts'

/** Header by which a browser is asked to bind a session to its device (Device Bound Session Credentials). */
export const REGISTRATION = 'secure-session-registration'

/**
 * Returns the header by which a browser is asked to bind a session that has just begun; `null` where that cannot be.
 * Browsers that do not know it, or are on plain http, leave it alone.
 */
export function askingFor (
  { device, core }: PluginContext, request: FastifyRequest, record: SessionRecord
): string | null {
  const now = core.now()
  if (device === null || request.protocol !== 'https' || !device.binding.asksFor(record, now)) return null
  const { bindExisting, maxAgeMs } = device.binding.options
  // What has moved to another id may have begun long ago, and anybody who holds its cookie can have it moved.
  if (!bindExisting && now - (record.authenticatedAt ?? 0) > maxAgeMs) return null
  return device.binding.registrationHeader(record, device.path, now)
}

/**
 * Returns the same for a session that has begun before: its browser is asked with the next page that it shows. That of
 * a sign-in a moment ago is about to do what it was asked then.
 */
export function askingAgainFor (
  context: PluginContext, request: FastifyRequest, record: SessionRecord
): string | null {
  if (context.device?.binding.options.bindExisting !== true || !navigates(request)) return null
  if (context.core.now() - (record.authenticatedAt ?? 0) <= JUST_BOUND_MS) return null
  return askingFor(context, request, record)
}

/** Whether a request is for a page that a browser goes to. */
export function navigates ({ method, headers }: FastifyRequest): boolean {
  return (method === 'GET' || method === 'HEAD') && headers['sec-fetch-mode'] === 'navigate'
}

/** Path of the routes that bind sessions, where no other is given. */
const PATH = '/device-bound'

/** Returns the path of the routes that bind sessions: below that of the cookie, which has to come with them. */
export function devicePath (given: string, { deviceBound, cookie }: ResolvedOptions): string {
  const prefix = given.replace(/\/$/, '')
  const base = cookie.path.replace(/\/$/, '')
  if (deviceBound?.path != null) return `${prefix}${deviceBound.path}`
  const isBelow = prefix === base || prefix.startsWith(`${base}/`)
  return `${isBelow ? prefix : `${prefix}${base}`}${PATH}`
}
