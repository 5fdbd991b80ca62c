import t from 'tap'
import { buildApp } from '../graphql-apollo.ts'
import { testGraphQL } from './graphql-scenario.ts'

testGraphQL(t, 'examples/graphql-apollo.ts', buildApp)
