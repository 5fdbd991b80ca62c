import t from 'tap'
import { buildApp } from '../graphql-apollo/server.ts'
import { testGraphQL } from './graphql-scenario.ts'

testGraphQL(t, 'examples/graphql-apollo/server.ts', buildApp)
