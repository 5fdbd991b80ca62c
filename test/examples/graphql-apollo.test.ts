import { buildApp } from '../../examples/graphql-apollo.ts'
import { testGraphQL } from './graphql-scenario.ts'

testGraphQL('examples/graphql-apollo.ts', buildApp)
