// Signs in at an OpenID Connect provider, and signs out when the provider says so (Back-Channel Logout 1.0).
import { randomBytes } from 'node:crypto'
import formbody from '@fastify/formbody'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import sessionPlugin from 'fastify-user-sessions'
import * as client from 'openid-client'
import { backchannelLogout } from './backchannel-logout.ts'

interface Options {
  /** Where browsers and the provider reach this application. */
  url?: string
  issuer?: string
  clientId?: string
  clientSecret?: string
  redis?: string | undefined
  secret?: string | undefined
}

/** What has to come back from the provider with the person. It waits in their session. */
interface SignIn { state: string, nonce: string, verifier: string }

declare module 'fastify' {
  interface Session {
    signIn?: SignIn
    idToken?: string
  }
}

export async function buildApp (options: Options = {}): Promise<FastifyInstance> {
  const {
    url = process.env.APP_URL ?? 'http://127.0.0.1:3000',
    issuer = process.env.ISSUER ?? 'http://127.0.0.1:3001',
    clientId = process.env.CLIENT_ID ?? 'example',
    clientSecret = process.env.CLIENT_SECRET ?? 'a secret of development only',
    redis = process.env.REDIS_URL,
    secret = process.env.SESSION_SECRET ?? randomBytes(32).toString('base64')
  } = options
  const app = Fastify({ logger: { level: 'warn' } })
  await app.register(formbody)
  await app.register(sessionPlugin, { secret, redis, cookie: { secure: url.startsWith('https:') } })

  // Only for a provider on this machine.
  const execute = issuer.startsWith('http://127.0.0.1:') ? [client.allowInsecureRequests] : []
  const provider = await client.discovery(new URL(issuer), clientId, clientSecret, undefined, { execute })
  const { jwks_uri: jwksUri = '' } = provider.serverMetadata()

  app.get('/', async (request, reply) => {
    reply.type('text/html').header('cache-control', 'no-store')
    if (request.auth === null) return '<!doctype html><title>Home</title><p><a href="/login">Sign in</a></p>'
    return `<!doctype html><title>Home</title><p>You are signed in as ${escaped(request.auth.userId)}.</p>
      <form method="post" action="/logout"><button>Sign out</button></form>`
  })

  app.get('/login', async (request, reply) => {
    const [state, nonce] = [client.randomState(), client.randomNonce()]
    const signIn = { state, nonce, verifier: client.randomPKCECodeVerifier() }
    request.session.signIn = signIn
    const target = client.buildAuthorizationUrl(provider, {
      redirect_uri: `${url}/callback`,
      scope: 'openid',
      state: signIn.state,
      nonce: signIn.nonce,
      code_challenge: await client.calculatePKCECodeChallenge(signIn.verifier),
      code_challenge_method: 'S256'
    })
    return await reply.redirect(target.href, 303)
  })

  app.get('/callback', async (request, reply) => {
    const { signIn } = request.session
    // Nobody began to sign in here: a link of somebody else, or a session that has expired.
    if (signIn === undefined) return await reply.redirect('/', 303)
    delete request.session.signIn
    const tokens = await client.authorizationCodeGrant(provider, new URL(request.url, url), {
      expectedState: signIn.state,
      expectedNonce: signIn.nonce,
      pkceCodeVerifier: signIn.verifier,
      idTokenExpected: true
    }).catch((error: unknown) => {
      request.log.warn(error, 'the provider did not sign anybody in')
      return null
    })
    const claims = tokens?.claims()
    if (claims === undefined) return await reply.redirect('/', 303)
    // A sub is unique at its provider only. With several providers, look your user up by issuer and sub.
    await app.login(request, { id: claims.sub }, {
      data: { idToken: tokens?.id_token },
      // The session at the provider. It is not in the ID token of every provider.
      ...typeof claims.sid === 'string' && { idp: { issuer: claims.iss, sid: claims.sid } }
    })
    return await reply.redirect('/', 303)
  })

  app.post('/logout', async (request, reply) => {
    const { idToken } = request.session
    await app.logout(request)
    if (idToken === undefined) return await reply.redirect('/', 303)
    // Signs out at the provider as well: OpenID Connect RP-Initiated Logout 1.0.
    const target = client.buildEndSessionUrl(provider, { id_token_hint: idToken, post_logout_redirect_uri: `${url}/` })
    return await reply.redirect(target.href, 303)
  })

  // The provider calls it when somebody signs out there.
  await app.register(backchannelLogout, { jwksUri, issuer, clientId, redis })
  return app
}

function escaped (text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}

if (process.argv[1] === import.meta.filename) {
  const app = await buildApp()
  const address = await app.listen({ port: Number(process.env.PORT ?? 3000) })
  console.log(`Pages at ${address}`)
}
