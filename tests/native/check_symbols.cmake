# The object of an instruction set must define one external symbol, kernels_<isa>, and nothing weak or unique.
execute_process(COMMAND ${nm} --extern-only --defined-only --demangle ${object}
  OUTPUT_VARIABLE symbols OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
if(NOT symbols MATCHES "^[0-9a-f]+ [DR] mtcnn_fast::kernels_${isa}$")
  message(FATAL_ERROR "${object} should define mtcnn_fast::kernels_${isa} alone, but defines:\n${symbols}")
endif()
