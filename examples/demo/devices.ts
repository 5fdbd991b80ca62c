// The page of the account, and the ends of its sessions.
import type { FastifyPluginAsync } from 'fastify'
import type { Backend } from './backend.ts'
import { costSoFar } from './cost.ts'
import { accountPage, copyPage } from './pages.ts'
import { sessionCookies, show, userOf } from './web.ts'

interface AccountPage { Querystring: { say?: string } }
interface Device { Params: { id: string } }

export const deviceRoutes: FastifyPluginAsync<{ backend: Backend }> = async (app, { backend }) => {
  app.get<AccountPage>('/', { preHandler: app.authenticate }, async (request, reply) => {
    const auth = request.requireAuth()
    const user = userOf(request)
    const devices = await app.sessions.listByUser(auth.userId)
    const email = await backend.email(auth.userId) ?? user.email
    const cost = costSoFar()
    const stored = await backend.read(auth.id)
    const { say } = request.query
    return show(reply, accountPage({ auth, user, email, devices, cost, stored, backend: backend.name, say }))
  })

  // What malware takes from a browser. A real application never shows it.
  app.post('/copy', { preHandler: app.authenticate }, async (request, reply) => {
    const url = `${request.protocol}://${request.host}/me`
    const command = `curl -k -H 'cookie: ${sessionCookies(request).join('; ')}' ${url}`
    return show(reply, copyPage({ auth: request.requireAuth(), command }))
  })

  // Whoever ends other sessions has signed in recently: else a stolen cookie could keep its owner out.
  const recent = { preHandler: app.requireRecentLogin('10m') }

  app.post<Device>('/devices/:id/end', recent, async (request, reply) => {
    const { userId } = request.requireAuth()
    // With `userId`, it ends only if it is theirs.
    const hasEnded = await app.sessions.revoke(request.params.id, { userId })
    return reply.redirect(`/?say=${hasEnded ? 'ended' : 'gone'}`, 303)
  })

  app.post('/devices/others/end', recent, async (request, reply) => {
    const { id, userId } = request.requireAuth()
    await app.sessions.revokeUser(userId, { except: id })
    return reply.redirect('/?say=others', 303)
  })

  app.post('/devices/end', recent, async (request, reply) => {
    await app.sessions.revokeUser(request.requireAuth().userId)
    // This session has ended with them. Its cookie goes as well.
    await app.logout(request)
    return reply.redirect('/sign-in?say=everywhere', 303)
  })
}
