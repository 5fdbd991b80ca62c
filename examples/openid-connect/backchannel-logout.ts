// `POST /backchannel-logout`: the provider says that somebody has signed out there, and their sessions end here.
import type { FastifyInstance } from 'fastify'
import { InvalidLogoutToken, LogoutTokens, SeenTokens } from './logout-token.ts'

interface Options {
  /** Where the provider has its keys. */
  jwksUri: string
  issuer: string
  clientId: string
  redis: string | undefined
}

export async function backchannelLogout (app: FastifyInstance, { redis, ...provider }: Options): Promise<void> {
  const logoutTokens = new LogoutTokens(provider)
  const seenTokens = new SeenTokens(redis)
  app.addHook('onClose', async () => { seenTokens.close() })

  // The provider calls this, without a cookie: the token's signature says who asks.
  app.post<{ Body?: { logout_token?: unknown } }>(
    '/backchannel-logout', { config: { session: false } }, async (request, reply) => {
      reply.header('cache-control', 'no-store')
      const token = await logoutTokens.verify(request.body?.logout_token).catch((error: unknown) => {
        if (error instanceof InvalidLogoutToken) return error
        throw error
      })
      const refuse = async (why: string) => {
        return await reply.code(400).send({ error: 'invalid_request', error_description: why })
      }
      if (token instanceof InvalidLogoutToken) return await refuse(token.message)
      const { jti, issuer, sid, sub } = token
      if (!await seenTokens.add(jti)) return await refuse('the token was used before')
      try {
        if (sid !== undefined) await app.sessions.revokeIdp({ issuer, sid }, { reason: 'provider' })
        else if (sub !== undefined) await app.sessions.revokeUser(sub, { reason: 'provider' })
      } catch (error) {
        await seenTokens.remove(jti)
        throw error
      }
      return await reply.code(200).send()
    }
  )
}
