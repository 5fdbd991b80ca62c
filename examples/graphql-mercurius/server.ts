// GraphQL with Mercurius: register, login and logout are mutations. Resolvers find the session in their context.
import { randomBytes, randomUUID } from 'node:crypto'
import { hash, verify } from '@node-rs/argon2'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import sessionPlugin from 'fastify-user-sessions'
import { GraphQLError } from 'graphql'
import mercurius from 'mercurius'
import type { IResolvers } from 'mercurius'

declare module 'mercurius' {
  interface MercuriusContext { request: FastifyRequest }
}

interface User { id: string, username: string, passwordHash: string }
interface Credentials { username: string, password: string }

const schema = `
  type User {
    id: ID!
    username: String!
  }
  type Query {
    "Who is signed in, or null."
    me: User
    "Who is signed in; an error when nobody is."
    viewer: User!
  }
  type Mutation {
    register(username: String!, password: String!): User!
    login(username: String!, password: String!): User!
    logout: Boolean!
  }
`

/** Returns what is wrong with a new user's name or password, or null. */
function problemWith ({ username, password }: Credentials): string | null {
  if (!/^[a-z0-9_-]{3,32}$/.test(username)) return 'A username has 3 to 32 of a-z, 0-9, _ and -'
  return password.length < 8 || password.length > 128 ? 'A password has 8 to 128 characters' : null
}

const refusal = (code: string, message: string) => new GraphQLError(message, { extensions: { code } })

interface Options {
  redis?: string | undefined
  /** Your database: the users by their names. */
  users?: Map<string, User>
}

export async function buildApp (options: Options = {}): Promise<FastifyInstance> {
  const { redis = process.env.REDIS_URL, users = new Map<string, User>() } = options
  const app = Fastify({ logger: { level: 'warn' } })

  await app.register(sessionPlugin, {
    secret: process.env.SESSION_SECRET ?? randomBytes(32).toString('base64'),
    redis,
    cookie: { secure: process.env.NODE_ENV === 'production' }
  })

  const userOf = (id: string) => [...users.values()].find((user) => user.id === id)
  // The password of an unknown name is compared with this, so that it takes as long as a wrong password.
  const nobodysHash = await hash(randomUUID())

  const resolvers: IResolvers = {
    Query: {
      me: (_, __, { request }) => request.auth && userOf(request.auth.userId),
      viewer: (_, __, { request }) => userOf(request.requireAuth().userId)
    },
    Mutation: {
      register: async (_, { username, password }: Credentials, { request }) => {
        const problem = problemWith({ username, password })
        if (problem !== null) throw refusal('BAD_USER_INPUT', problem)
        const user = { id: randomUUID(), username, passwordHash: await hash(password) }
        // Nothing is awaited between the next two lines, or two could take one name. In a database: a unique index.
        if (users.has(username)) throw refusal('USERNAME_TAKEN', 'This username is taken')
        users.set(username, user)
        await app.login(request, user)
        return user
      },
      // One request can hold many logins, by aliases. attemptLogin counts each of them.
      login: async (_, { username, password }: Credentials, { request }) => {
        const user = await app.attemptLogin(request, username, async () => {
          const found = users.get(username)
          const matches = await verify(found?.passwordHash ?? nobodysHash, password)
          return matches ? found : undefined
        })
        if (user === undefined) throw refusal('INVALID_CREDENTIALS', 'Invalid credentials')
        await app.login(request, user)
        return user
      },
      logout: async (_, __, { request }) => {
        await app.logout(request)
        return true
      }
    }
  }

  await app.register(mercurius, { schema, resolvers, context: (request) => ({ request }) })
  return app
}

if (process.argv[1] === import.meta.filename) {
  const app = await buildApp()
  const url = await app.listen({ port: Number(process.env.PORT ?? 3000) })
  console.log(`GraphQL at ${url}/graphql`)
}
