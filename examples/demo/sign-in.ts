// Signing in and out.
import type { FastifyPluginAsync } from 'fastify'
import { signInPage } from './pages.ts'
import { verifyPassword } from './users.ts'
import { form, show, text } from './web.ts'

const WRONG = 'This name and password do not go together.'
const CREDENTIALS = form({ username: text(100), password: text(1000), remember: { const: 'on' } }, ['remember'])

interface SignInPage { Querystring: { say?: string } }
interface SignIn { Body: { username: string, password: string, remember?: 'on' } }

export const signInRoutes: FastifyPluginAsync = async (app) => {
  app.get<SignInPage>('/sign-in', async ({ auth, query }, reply) => {
    return auth === null ? show(reply, signInPage({ say: query.say })) : reply.redirect('/', 303)
  })

  app.post<SignIn>('/sign-in', { schema: CREDENTIALS }, async (request, reply) => {
    const { username, password } = request.body
    const remember = request.body.remember === 'on'
    const user = await app.attemptLogin(request, username, async () => await verifyPassword(username, password))
    if (user === null) return show(reply, signInPage({ username, problem: WRONG }), 401)
    // Kept in `meta` as well, for the login that follows a code.
    await app.login(request, user, { remember, meta: { remember } })
    return reply.redirect('/', 303)
  })

  app.post('/sign-out', async (request, reply) => {
    await app.logout(request)
    return reply.redirect('/sign-in?say=signed-out', 303)
  })
}
