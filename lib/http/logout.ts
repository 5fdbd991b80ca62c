import type { FastifyRequest } from 'fastify'
import type { AnyReply, AnyRequest } from './any-server.ts'
import type { PluginContext } from './context.ts'
import { assertSameSite } from './cross-site.ts'
import { stateOf } from './state.ts'

export type Logout = (request: AnyRequest, reply?: AnyReply) => Promise<void>

/** @throws TypeError for what is no request; ERR_SESSION_STORE_UNAVAILABLE when the store does not confirm it; the cookie is taken back all the same */
export async function logout (context: PluginContext, request: FastifyRequest): Promise<void> {
  const state = stateOf(context, request)
  assertSameSite(context, request)
  await state.end()
}
