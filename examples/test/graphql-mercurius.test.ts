import t from 'tap'
import { buildApp } from '../graphql-mercurius.ts'
import { testGraphQL } from './graphql-scenario.ts'

testGraphQL(t, 'examples/graphql-mercurius.ts', buildApp)
