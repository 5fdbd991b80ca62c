// The second factor, and what needs it: a new e-mail address.
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import type { Backend } from './backend.ts'
import { confirmPage, emailPage, isPurpose } from './pages.ts'
import { codeOf } from './totp.ts'
import { verifyCode } from './users.ts'
import { form, show, text, userOf } from './web.ts'

const CODE = form({ code: text(20), for: text(20) })
const EMAIL = form({ email: { type: 'string', format: 'email', maxLength: 254 } })

interface ConfirmPage { Querystring: { for?: string } }
interface Confirm { Body: { code: string, for: string } }
interface ChangeEmail { Body: { email: string } }

/** Lets only those pass who signed in with a code. Others are asked for one. */
async function requireCode (request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  if (request.requireAuth().meta?.code !== true) return reply.redirect('/confirm?for=email', 303)
}

export const emailRoutes: FastifyPluginAsync<{ backend: Backend }> = async (app, { backend }) => {
  const signedIn = { preHandler: app.authenticate }
  const withCode = { preHandler: [app.requireRecentLogin('5m'), requireCode] }

  app.get<ConfirmPage>('/confirm', signedIn, async (request, reply) => {
    const auth = request.requireAuth()
    return show(reply, confirmPage({ auth, purpose: request.query.for, code: codeOf(userOf(request).totpSecret) }))
  })

  app.post<Confirm>('/confirm', { ...signedIn, schema: CODE }, async (request, reply) => {
    const auth = request.requireAuth()
    const user = userOf(request)
    const purpose = isPurpose(request.body.for) ? request.body.for : 'devices'
    const code = request.body.code.replaceAll(' ', '')
    if (!await app.attemptLogin(request, `code of ${user.username}`, () => verifyCode(user, code))) {
      const problem = 'This code is wrong, or was used before.'
      return show(reply, confirmPage({ auth, purpose, code: codeOf(user.totpSecret), problem }), 401)
    }
    // A login of the same user takes the session's place: a new id, the same data, and recent from now on.
    const remember = auth.meta?.remember === true
    await app.login(request, user, { remember, meta: { remember, code: true } })
    // Back to where they were: one of two paths of ours, whatever the form says.
    return reply.redirect(purpose === 'email' ? '/email' : '/?say=confirmed#devices', 303)
  })

  app.get('/email', withCode, async (request, reply) => {
    const auth = request.requireAuth()
    const email = await backend.email(auth.userId) ?? userOf(request).email
    return show(reply, emailPage({ auth, email }))
  })

  app.post<ChangeEmail>('/email', { ...withCode, schema: EMAIL, attachValidation: true }, async (request, reply) => {
    const auth = request.requireAuth()
    const { email } = request.body
    if (request.validationError !== undefined) {
      return show(reply, emailPage({ auth, email, problem: 'This is no e-mail address.' }), 400)
    }
    await backend.changeEmail(auth.userId, email)
    return reply.redirect('/?say=email', 303)
  })
}
