import type { TObject, TSchema } from '@sinclair/typebox'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { isUserIdText } from '../../session/record.ts'
import { finished } from '../../session/revocations.ts'
import type { Revocation } from '../../session/revocations.ts'
import { TIMED_OUT, withDeadline } from '../../util/deadline.ts'
import { withQuery } from '../../util/site-path.ts'
import { REVOCATION_WAIT_MS } from '../../util/timings.ts'
import type { PluginContext } from '../context.ts'
import { rememberPath } from '../return-path.ts'
import { failedForms, isForm, seeOther } from './forms.ts'
import { Redirect } from './schemas.ts'
import type { sameSiteOnly } from './shared.ts'

/** Routes that end sessions, of one registration. */
export interface EndingRoutes {
  readonly context: PluginContext
  readonly onRequest: Array<ReturnType<typeof sameSiteOnly>>
  /** What becomes of forms. `null`: they get JSON. */
  readonly redirects: EndingRedirects | null
}

interface EndingRedirects {
  /** Returns the page to which a form is sent when sessions have ended. */
  readonly done: (ended: EndingReply) => string
  readonly onFailure: ReturnType<typeof failedForms>
}

/** What has ended: the reply of a script. */
export interface EndingReply {
  readonly status: number
  readonly body?: object
  /** Whose sessions have ended, where a page is told that. */
  readonly userId?: string | null
  /** Whether the session that asks is one of them. */
  readonly signsOut?: boolean
}

/** What ends sessions: for scripts with DELETE, for forms with POST. */
export interface Ending {
  readonly paths: { delete: string, post: string }
  readonly schema: { summary: string, description: string, params?: TObject, response: Record<number, TSchema> }
  /** What is sent along: in the query of a script, in the body of a form. */
  readonly sent?: { querystring: TSchema, body: TSchema }
  readonly end: (request: FastifyRequest) => Promise<EndingReply>
}

/** Fixed paths or URLs to which forms are sent that end sessions. */
export interface EndingTargets {
  readonly done?: string | undefined
  readonly failure?: string | undefined
}

/** Makes what becomes of forms. Where a page is told whose sessions it is about, its query has the user's id. */
export function endingRedirects (context: PluginContext, targets: EndingTargets | undefined): EndingRedirects | null {
  if (targets === undefined) return null
  const { pages } = context.options
  const { done = pages.home, failure = done } = targets
  const toFailure = (code: string, request: FastifyRequest, reply: FastifyReply): string => {
    const userId = asked(request)
    if (code !== 'unauthenticated' && code !== 'reauth_required') return about(failure, userId)
    // Once signed in they are back where they can try again.
    rememberPath(context, request, reply, about(done, userId))
    return pages.login
  }
  return { done: ({ userId }) => about(done, userId), onFailure: failedForms(context, toFailure) }
}

function about (target: string, userId: string | null | undefined): string {
  return userId == null ? target : withQuery(target, { userId })
}

/** Returns the user whom a form names. */
function asked ({ body }: FastifyRequest): string | null {
  const { userId } = (body ?? {}) as { userId?: unknown }
  return typeof userId === 'string' && isUserIdText(userId) ? userId : null
}

/** Adds both routes of an ending. `forms`: the scope of the one with POST, where it reads a body. */
export function addEnding (
  app: FastifyInstance, { context, onRequest, redirects }: EndingRoutes, { paths, schema, sent, end }: Ending,
  { forms = app }: { forms?: FastifyInstance } = {}
): void {
  app.delete(paths.delete, {
    onRequest,
    schema: { ...schema, ...sent !== undefined && { querystring: sent.querystring } }
  }, async (request, reply) => {
    const { status, body } = await end(request)
    return reply.code(status).send(body)
  })
  const response: Ending['schema']['response'] = { ...schema.response, 303: Redirect }
  forms.post(paths.post, {
    onRequest,
    ...redirects !== null && { errorHandler: redirects.onFailure },
    schema: {
      ...schema,
      ...sent !== undefined && { body: sent.body },
      summary: `${schema.summary}, with a form`,
      description: `As \`DELETE ${paths.delete}\`. ${schema.description}`,
      response
    }
  }, async (request, reply) => {
    const ended = await end(request)
    if (redirects === null || !isForm(request)) return reply.code(ended.status).send(ended.body)
    return seeOther(reply, ended.signsOut === true ? context.options.pages.login : redirects.done(ended))
  })
}

/** Returns the reply to the end of all sessions of a user: it does not wait for very many. */
export async function endedAll (revocation: Revocation): Promise<Pick<EndingReply, 'status' | 'body'>> {
  const revoked = await withDeadline(revocation.done, REVOCATION_WAIT_MS)
  if (revoked !== TIMED_OUT) return { status: 200, body: { revoked } }
  if (revocation.steps === 0) return { status: 200, body: { revoked: await finished(revocation) } }
  return { status: 202, body: { revoked: revocation.ended, pending: true } }
}
