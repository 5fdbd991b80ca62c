// GraphQL with Apollo Server: register, login and logout are mutations, the session is in the resolvers' context.
//
//   npm run build && npm ci --prefix examples && npx tsx examples/graphql-apollo.ts
//   curl -i -c jar -b jar localhost:3000/graphql -H 'content-type: application/json' \
//     -d '{"query":"mutation { register(username: \"ada\", password: \"lovelace\") { id } }"}'
//   curl -i -c jar -b jar localhost:3000/graphql -H 'content-type: application/json' -d '{"query":"{ viewer { username } }"}'
import { randomBytes, randomUUID } from 'node:crypto'
import { ApolloServer } from '@apollo/server'
import type { ApolloServerOptionsWithTypeDefs } from '@apollo/server'
import fastifyApollo, { fastifyApolloDrainPlugin } from '@as-integrations/fastify'
import { hash, verify } from '@node-rs/argon2'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import sessionPlugin from 'fastify-user-sessions'
import { GraphQLError } from 'graphql'

interface Context { request: FastifyRequest }
interface User { id: string, username: string, passwordHash: string }
interface Credentials { username: string, password: string }

const typeDefs = `
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

const refusal = (code: string, message: string) => new GraphQLError(message, { extensions: { code } })

// `users`, by name, is your database.
export async function buildApp ({ redis = process.env.REDIS_URL, users = new Map<string, User>() } = {}): Promise<FastifyInstance> {
  const app = Fastify({ logger: { level: 'warn' } })

  await app.register(sessionPlugin, {
    secret: process.env.SESSION_SECRET ?? randomBytes(32).toString('base64'),
    redis,
    cookie: { secure: process.env.NODE_ENV === 'production' }
  })

  const userOf = (id: string) => [...users.values()].find((user) => user.id === id)
  // An unknown name takes as long as a wrong password: it is compared with this.
  const nobodysHash = await hash(randomUUID())

  const resolvers: ApolloServerOptionsWithTypeDefs<Context>['resolvers'] = {
    Query: {
      me: (_, __, { request }) => request.auth && userOf(request.auth.userId),
      viewer: (_, __, { request }) => userOf(request.requireAuth().userId)
    },
    Mutation: {
      register: async (_, { username, password }: Credentials, { request }) => {
        if (!/^[a-z0-9_-]{3,32}$/.test(username)) throw refusal('BAD_USER_INPUT', 'A username has 3 to 32 of a-z, 0-9, _ and -')
        if (password.length < 8 || password.length > 128) throw refusal('BAD_USER_INPUT', 'A password has 8 to 128 characters')
        const user = { id: randomUUID(), username, passwordHash: await hash(password) }
        // With nothing awaited in between, or two could take one name; in a database, a unique index.
        if (users.has(username)) throw refusal('USERNAME_TAKEN', 'This username is taken')
        users.set(username, user)
        await app.login(request, user)
        return user
      },
      // Aliases put many logins into one request: attemptLogin counts each of them.
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

  const apollo = new ApolloServer({ typeDefs, resolvers, plugins: [fastifyApolloDrainPlugin(app)] })
  await apollo.start()
  // Not awaited: each of the two, when it stops, stops the other, and Apollo waits for the application.
  app.addHook('onClose', () => { void apollo.stop() })
  await app.register(fastifyApollo(apollo), { context: async (request) => ({ request }) })
  return app
}

if (process.argv[1] === import.meta.filename) {
  const app = await buildApp()
  const url = await app.listen({ port: Number(process.env.PORT ?? 3000) })
  console.log(`GraphQL at ${url}/graphql`)
}
