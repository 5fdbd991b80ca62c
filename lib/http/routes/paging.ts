import type { FastifyReply } from 'fastify'
import type { SessionInfo } from '../../session/record.ts'
import type { PluginContext } from '../context.ts'
import type { PageQuery } from './schemas.ts'

/**
 * Lists a page of a user's sessions. The header `Link` of the reply names the next one. `others`: what the query of
 * that one has besides.
 */
export async function listPage (
  context: PluginContext, reply: FastifyReply, userId: string, { limit, before }: PageQuery,
  others: Record<string, string> = {}
): Promise<SessionInfo[]> {
  const sessions = await context.sessions.listByUser(userId, { limit, before: placeOf(before) })
  const last = sessions.at(-1)
  if (last !== undefined && sessions.length === limit) {
    const query = new URLSearchParams({ ...others, limit: String(limit), before: `${last.createdAt}.${last.id}` })
    void reply.header('link', `<?${query}>; rel="next"`)
  }
  return sessions
}

/** Parses `before`: the time at which a session began, and its id. */
function placeOf (before: string | undefined): { id: string, createdAt: number } | undefined {
  if (before === undefined) return undefined
  const dot = before.indexOf('.')
  return { createdAt: Number(before.slice(0, dot)), id: before.slice(dot + 1) }
}
