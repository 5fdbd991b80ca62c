import t from 'tap'
import { buildApp } from '../graphql-mercurius/server.ts'
import { testGraphQL } from './graphql-scenario.ts'

testGraphQL(t, 'examples/graphql-mercurius/server.ts', buildApp)
