// The pages, what their forms do, and what people see when something goes wrong.
import { readFile } from 'node:fs/promises'
import type { FastifyError, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import type { Backend } from './backend.ts'
import { deviceRoutes } from './devices.ts'
import { emailRoutes } from './email.ts'
import { live } from './live.ts'
import { confirmPage, messagePage, signInPage } from './pages.ts'
import { signInRoutes } from './sign-in.ts'
import { HEADERS, sessionCookies, show } from './web.ts'

const ASSETS = { 'style.css': 'text/css', 'live.js': 'text/javascript', 'icon.svg': 'image/svg+xml' }

export const site: FastifyPluginAsync<{ backend: Backend }> = async (app, { backend }) => {
  app.setErrorHandler<SiteError>(async (error, request, reply) => showError(error, request, reply, backend))
  app.setNotFoundHandler(async (_request, reply) => show(reply, messagePage(NOT_FOUND), 404))

  const withoutSession = { config: { session: false } } as const
  for (const [name, type] of Object.entries(ASSETS)) {
    const content = await readFile(new URL(name, import.meta.url))
    app.get(`/${name}`, withoutSession, async (_request, reply) => reply.headers(HEADERS).type(type).send(content))
  }
  app.get('/ready', withoutSession, async (_request, reply) => {
    const health = await app.sessions.health()
    return reply.code(health.ok ? 200 : 503).send(health)
  })

  app.get('/live', live)
  await app.register(signInRoutes)
  await app.register(deviceRoutes, { backend })
  await app.register(emailRoutes, { backend })
}

type SiteError = FastifyError & { headers?: Record<string, string> }

const NOT_FOUND = { title: 'Nothing here', text: 'There is no page at this address.', link: 'Go to your account' }
const GOES_ON = 'Nobody is signed out by that: your session goes on as soon as it is back.'
// The plugin has taken the cookie back, and repeats the rest until it is done.
const SIGNED_OUT = 'This browser is signed out all the same, and your session ends as soon as it is back.'

/** Sends what a person can do about an error. */
function showError (error: SiteError, request: FastifyRequest, reply: FastifyReply, backend: Backend): FastifyReply {
  const { statusCode = 500, headers = {} } = error
  const path = request.routeOptions.url
  reply.headers(headers)
  switch (error.code) {
    case 'ERR_SESSION_UNAUTHENTICATED':
      // A cookie came along, so there was a session once.
      return reply.redirect(sessionCookies(request).length === 0 ? '/sign-in' : '/sign-in?say=session-ended', 303)
    case 'ERR_SESSION_DEVICE_MISMATCH':
      return reply.redirect('/sign-in?say=other-device', 303)
    case 'ERR_SESSION_REAUTH_REQUIRED':
      return reply.redirect(`/confirm?for=${path === '/email' ? 'email' : 'devices'}`, 303)
    case 'ERR_SESSION_TOO_MANY_ATTEMPTS': {
      const minutes = Math.ceil(Number(headers['retry-after']) / 60)
      const problem = `Too many wrong ones. Try again in ${minutes === 1 ? 'a minute' : `${minutes} minutes`}.`
      const { auth } = request
      return show(reply, auth === null ? signInPage({ problem }) : confirmPage({ auth, problem }), 429)
    }
    case 'ERR_SESSION_STORE_UNAVAILABLE': {
      const text = `${backend.name} does not answer. ${path === '/sign-out' ? SIGNED_OUT : GOES_ON}`
      return show(reply, messagePage({ title: 'Back in a moment', text, link: 'Try again', retries: true }), 503)
    }
  }
  if (statusCode >= 500) request.log.error(error)
  const text = error.code === 'ERR_SESSION_CSRF_REJECTED'
    ? 'The form came from another site.'
    : 'Something is wrong with what was sent.'
  return show(reply, messagePage({ title: 'That did not work', text, link: 'Go back' }), statusCode)
}
